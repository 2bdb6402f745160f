"""`fit` on several ranks against one process with the same global batches."""

import csv

import fit_cases
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrec as kr
from kerasrec.parallel import comm


def as_one(loaders):
    """What several ranks' loaders yield, batch by batch put together; each pass is their next epoch."""

    def batches():
        for parts in zip(*loaders, strict=True):
            yield tf.nest.map_structure(lambda *some: tf.concat(some, 0), *parts)

    signature = loaders[0].get_tf_dataset().element_spec
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(loaders[0])))


def alone(folder, name, ranks, callbacks=()):
    """A case in this process, on the batches of all ranks together: the model and what is left of it."""
    case, optimizer = fit_cases.CASES[name]
    if case is fit_cases.case_plain:
        model, data = fit_cases.plain(optimizer), fit_cases.as_dataset(fit_cases.parts(None, ranks))
        return model, fit_cases.left_by(model, model.fit(data, epochs=3, verbose=0).history)
    if case is fit_cases.case_several:
        model = fit_cases.several(optimizer)
        data = fit_cases.as_dataset(fit_cases.with_weights(fit_cases.parts(None, ranks)))
        return model, fit_cases.left_by(model, model.fit(data, validation_data=data, epochs=2, verbose=0).history)
    weights = fit_cases.WEIGHTS if case is fit_cases.case_weighted else {}
    if case is fit_cases.case_by_target:
        weights = fit_cases.by_target(folder)
    shares = [fit_cases.loaders(folder, rank=rank, ranks=ranks, **weights) for rank in range(ranks)]
    train, valid = (as_one(some) for some in zip(*shares, strict=True))
    if case is fit_cases.case_by_target:
        model = fit_cases.mmoe(folder, optimizer)
        history = model.fit(train, validation_data=valid, epochs=2, verbose=0).history
        return model, fit_cases.left_by(model, history)
    model, seen = fit_cases.dlrm(folder, optimizer), fit_cases.Batches()
    epochs = 12 if case is fit_cases.case_callbacks else 2
    history = model.fit(
        train, validation_data=valid, epochs=epochs, callbacks=[seen, *callbacks], verbose=0
    ).history
    found = fit_cases.left_by(model, history)
    whole = kr.Loader(folder / "valid", batch_size=500, rank=0, ranks=1)
    return model, {
        **found,
        "batch losses": np.array(seen.seen),
        "predicted": model.predict(whole, verbose=0),
    }


def assert_same_numbers(name, many, one):
    """To float32's digits; a prediction next to a threshold, or to another one, may fall on either side of it."""
    loose = {"accuracy": 0.01, "auc": 0.005, "exact_auc": 0.01, "gauc": 0.01}
    loose = loose.get(name.removeprefix("log ").removeprefix("val_"), 1e-6)
    np.testing.assert_allclose(many, one, rtol=2e-4, atol=loose, err_msg=name)


def assert_same(many, one, before):
    """Weights to 1e-4 of the way they went; logs and predictions to float32's digits."""
    for name in many:
        if name == "dense" or name.startswith("table "):
            moved = np.linalg.norm(one[name] - before[name])
            assert moved > 5e-3, f"{name} hardly moved"
            assert np.linalg.norm(many[name] - one[name]) <= 1e-4 * moved, name
        else:
            assert_same_numbers(name, many[name], one[name])


def weights_before(folder, name):
    case, optimizer = fit_cases.CASES[name]
    made = {fit_cases.case_plain: fit_cases.plain, fit_cases.case_several: fit_cases.several}
    from_schema = fit_cases.mmoe if case is fit_cases.case_by_target else fit_cases.dlrm
    model = made[case](optimizer) if case in made else from_schema(folder, optimizer)
    return {"dense": fit_cases.dense_of(model), **fit_cases.tables_of(model)}


@pytest.mark.parametrize("horovod_ranks", [2, pytest.param(3, marks=pytest.mark.nightly)], indirect=True)
def test_fit_on_ranks_is_fit_in_one_process(horovod_ranks, tmp_path):
    fit_cases.write_data(tmp_path)
    answers = horovod_ranks.run(fit_cases.run, tmp_path, limit=600)
    assert comm.size() == 1
    size, work = horovod_ranks.size, tmp_path / f"on_{horovod_ranks.size}"
    compared = (
        fit_cases.case_loader,
        fit_cases.case_weighted,
        fit_cases.case_by_target,
        fit_cases.case_plain,
        fit_cases.case_several,
    )
    names = fit_cases.names_of(size)
    trained = {name: alone(tmp_path, name, size) for name in names if fit_cases.CASES[name][0] in compared}
    for name, (_, one) in trained.items():
        assert_same(np.load(work / f"{name}.npz"), one, weights_before(tmp_path, name))
    only_rank_0_speaks(answers.output)
    for name in trained.keys() & {"plain sgd", "plain adam"}:
        saved_as_in_one_process(tmp_path, work, name, *trained[name], size)
    callbacks_act_as_alone(tmp_path, work, size)


def only_rank_0_speaks(output):
    others = [line for line in output.splitlines() if "<stdout>:" in line and not line.startswith("[0]")]
    assert {line.partition(":")[2].partition(" ")[0] for line in others} == {"case"}
    assert any(line.startswith("[0]<stdout>:Epoch 1/2") for line in output.splitlines())


def saved_as_in_one_process(folder, work, name, model, one, ranks):
    """What ranks saved has all rows of the tables and of the optimizer's state, as one process has them."""
    saved = keras.saving.load_model(work / f"{name.replace(' ', '_')}.keras")
    assert_same(fit_cases.tables_of(saved), one, weights_before(folder, name))
    state, expected = {}, {}
    saved.optimizer.save_own_variables(state)
    model.optimizer.save_own_variables(expected)
    assert state.keys() == expected.keys()
    if name == "plain adam":
        assert expected["item:momentum"].shape == (fit_cases.ITEMS, 5)
    for key in expected:
        np.testing.assert_allclose(state[key], expected[key], rtol=1e-3, atol=1e-6, err_msg=key)
    again = saved.fit(fit_cases.as_dataset(fit_cases.parts(None, ranks)), epochs=1, verbose=0).history
    more = model.fit(fit_cases.as_dataset(fit_cases.parts(None, ranks)), epochs=1, verbose=0).history
    np.testing.assert_allclose(again["loss"], more["loss"], rtol=1e-4)


def callbacks_act_as_alone(folder, work, ranks):
    many = np.load(work / "callbacks.npz")
    rates = []
    _, one = alone(
        folder,
        "callbacks",
        ranks,
        [
            keras.callbacks.EarlyStopping("val_loss", min_delta=0.003, restore_best_weights=True),
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
            keras.callbacks.ReduceLROnPlateau("val_auc", mode="max", factor=0.5, patience=0, min_delta=0.1),
            keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: rates.append(len(rates))),
        ],
    )
    epochs = len(rates)
    assert 1 < epochs < 12
    assert len(many["rates"]) == epochs, "stopped in another epoch"
    for name in many:
        if name.startswith("log "):
            assert_same_numbers(name, many[name], one[name])
        elif name != "rates":
            np.testing.assert_allclose(many[name], one[name], rtol=1e-3, atol=1e-5, err_msg=name)
    best = keras.saving.load_model(work / "new" / "best.keras")
    _, valid = fit_cases.loaders(folder, rank=0, ranks=1)
    loss = best.evaluate(valid, return_dict=True, verbose=0)["loss"]
    np.testing.assert_allclose(loss, many["log val_loss"].min(), rtol=1e-5)
    assert len(list(work.glob("epoch*.weights.h5"))) == epochs
    best.load_weights(work / f"epoch{epochs}.weights.h5")
    with (work / "log.csv").open() as file:
        lines = list(csv.DictReader(file))
    np.testing.assert_allclose([float(line["val_loss"]) for line in lines], many["log val_loss"], rtol=1e-6)
    assert len(list((work / "board" / "train").iterdir())) == 1, "more than rank 0 wrote for TensorBoard"
    assert not [path for path in work.iterdir() if path.name.startswith("kerasrec-")]
