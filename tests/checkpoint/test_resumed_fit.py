"""A `fit` that was interrupted and is run again ends as one that was never interrupted."""

import shutil
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

import kerasrec as kr

sys.path.insert(0, str(Path(__file__).parent.parent / "data"))
from loader_data import make_table, write

BATCHES, EPOCHS = 6, 3


class Broken(Exception):
    pass


class BreakAt(keras.callbacks.Callback):
    """Ends `fit` at a batch, a validation or an epoch's beginning, counted over all epochs."""

    def __init__(self, where, number):
        super().__init__()
        self.where, self.left = where, number

    def _count(self, where):
        if where == self.where:
            self.left -= 1
            if self.left == 0:
                raise Broken

    def on_train_batch_begin(self, batch, logs=None):
        self._count("batch")

    def on_test_begin(self, logs=None):
        self._count("validation")

    def on_epoch_begin(self, epoch, logs=None):
        self._count("epoch")


class Rates(keras.callbacks.Callback):
    """The learning rate of each step, in a state of its own."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(float(self.model.optimizer.learning_rate))

    def state(self):
        return {"seen": self.seen}

    def restore(self, state):
        self.seen = state["seen"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("going_on")
    write(place / "train", make_table(110), files=2, row_group_rows=20)
    write(place / "valid", make_table(40, seed=1))
    return place


def loader(folder, which="train", size=20, **how):
    return kr.Loader(folder / which, size, shuffle=True, pool_rows=40, columns=["user", "age"], **how)


def functional():
    user, age = keras.Input((), dtype="int32", name="user"), keras.Input((), name="age")
    x = keras.layers.Concatenate()([keras.layers.Embedding(50, 4)(user), keras.ops.expand_dims(age, 1)])
    x = keras.layers.Dropout(0.4)(keras.layers.BatchNormalization()(keras.layers.Dense(8, "relu")(x)))
    model = keras.Model({"user": user, "age": age}, keras.layers.Dense(1, "sigmoid")(x))
    model.compile("adam", "binary_crossentropy", metrics=[keras.metrics.AUC(name="auc")])
    return model


def ours(schema):
    model = kr.models.DeepFM(schema, 4, deep_units=[8], dropout=0.3)
    model.compile(kr.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
    return model


def fit(folder, checkpoints=None, *more, own=True, every=4, epochs=EPOCHS, schedule=True, **how):
    """What a training comes to: weights, history, learning rates."""
    keras.utils.set_random_seed(3)
    train, valid = loader(folder), loader(folder, "valid")
    model = functional() if own else ours(train.schema)
    rates = Rates()
    others = [rates, keras.callbacks.EarlyStopping("val_loss", patience=5, restore_best_weights=True), *more]
    others += [keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.7)] if schedule else []
    others += [] if schedule else [keras.callbacks.ReduceLROnPlateau("loss", 0.5, patience=0, min_delta=9)]
    told = {"loader": train, "validation": valid, "callbacks": others} if own else {}
    ckpt = [kr.callbacks.Checkpoint(checkpoints, every, **told, **how)] if checkpoints else []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the attributes of callback BreakAt")
        history = model.fit(train, validation_data=valid, epochs=epochs, callbacks=[*others, *ckpt], verbose=0)
    optimizer = [variable.numpy() for variable in model.optimizer.variables]
    return model.get_weights(), optimizer, history.history, history.epoch, rates.seen


def assert_equal(left, right):
    for one, other in zip(left[:2], right[:2], strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert left[2:] == right[2:]


@pytest.fixture(scope="module")
def whole(folder):
    """Trainings that nobody interrupted and nobody saved."""
    return {own: fit(folder, own=own) for own in (True, False)}


@pytest.mark.parametrize(
    ("own", "where", "number"),
    [
        (True, "batch", 6),
        (True, "epoch", 3),
        (False, "batch", 18),
        (False, "validation", 1),
    ],
)
def test_it_goes_on_to_the_bit(folder, whole, own, where, number, tmp_path, capsys):
    with pytest.raises(Broken):
        fit(folder, tmp_path / "c", BreakAt(where, number), own=own)
    capsys.readouterr()
    assert_equal(fit(folder, tmp_path / "c", own=own), whole[own])
    step = 4 * ((number - 1) // 4) if where == "batch" else {"validation": 4, "epoch": 12}[where]
    said = capsys.readouterr().out
    batch = f"after batch {step % BATCHES} of {BATCHES}" if step % BATCHES else "from its beginning"
    assert f"step-{step:08d}: going on with epoch {step // BATCHES + 1} of {EPOCHS}, {batch}" in said


def test_it_is_broken_off_again_and_again(folder, tmp_path):
    expected = fit(folder, schedule=False)
    for _ in range(20):
        try:
            found = fit(folder, tmp_path / "c", BreakAt("batch", 3), every=2, schedule=False)
        except Broken:
            continue
        break
    assert_equal(found, expected)


def test_every_epoch_without_a_loader(folder, tmp_path):
    x = {"user": np.arange(40) % 50, "age": np.linspace(-1, 1, 40).astype("float32")}
    y = (x["age"] > 0).astype("float32")

    def run(*callbacks):
        keras.utils.set_random_seed(3)
        model = functional()
        model.fit(x, y, batch_size=10, epochs=3, shuffle=False, verbose=0, callbacks=[*callbacks])
        return model.get_weights()

    def checkpoint():
        return kr.callbacks.Checkpoint(tmp_path / "c")

    with pytest.raises(Broken):
        run(BreakAt("batch", 7), checkpoint())
    assert all(np.array_equal(a, b) for a, b in zip(run(checkpoint()), run(), strict=True))


def test_a_training_that_has_ended_trains_no_more(folder, whole, tmp_path, capsys):
    first = fit(folder, tmp_path / "c", epochs=2)
    saved = sorted(path.name for path in (tmp_path / "c").iterdir())
    capsys.readouterr()
    again = fit(folder, tmp_path / "c", epochs=2)
    assert "training had ended after epoch 2; remove" in capsys.readouterr().out
    assert all(np.array_equal(a, b) for a, b in zip(first[0], again[0], strict=True))
    assert first[2:4] == again[2:4]
    assert saved == ["step-00000008", "step-00000012"] == sorted(path.name for path in (tmp_path / "c").iterdir())
    more = fit(folder, tmp_path / "c", epochs=EPOCHS)
    assert more[3] == [0, 1, 2]


def test_a_callback_that_ends_the_training_in_mid_epoch(folder, whole, tmp_path):
    """As one does that knows how long a job may last: what it saved is gone on with."""

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 9:
                self.model.stop_training = True

    fit(folder, tmp_path / "c", Stop(), every=100)
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["step-00000009"]
    assert_equal(fit(folder, tmp_path / "c", every=100), whole[True])


def test_early_stopping_is_an_end(folder, tmp_path, capsys):
    def run():
        keras.utils.set_random_seed(3)
        train = loader(folder)
        model = ours(train.schema)
        stop = keras.callbacks.EarlyStopping("loss", patience=0, min_delta=9)
        checkpoint = kr.callbacks.Checkpoint(tmp_path / "c", every=4)
        return model.fit(train, epochs=9, verbose=0, callbacks=[checkpoint, stop]).epoch

    assert run() == [0, 1]
    assert run() == [0, 1]
    assert "training had ended by a callback after epoch 2" in capsys.readouterr().out


def test_only_the_latest_are_kept(folder, tmp_path):
    place = tmp_path / "c"
    (place / "step-1").mkdir(parents=True)
    (place / "step-00000001").mkdir()
    (place / "step-00000001" / "letter.txt").write_text("not a checkpoint")
    fit(folder, place, every=2, keep=3)
    names = sorted(path.name for path in place.iterdir())
    assert names == ["step-00000001", "step-00000014", "step-00000016", "step-00000018", "step-1"]


def damage(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 64
    file.write_bytes(data)


def test_what_does_not_fit_is_refused(folder, tmp_path):
    place = tmp_path / "c"
    with pytest.raises(Broken):
        fit(folder, place, BreakAt("batch", 6), own=False)
    latest = kr.checkpoint.latest(place)
    assert latest == place / "step-00000004"

    def run(model, data, **how):
        checkpoint = kr.callbacks.Checkpoint(place, every=4)
        model.fit(data, epochs=3, verbose=0, callbacks=[checkpoint], **how)

    train = loader(folder)
    with pytest.raises(
        ValueError, match="step-00000004 was saved in the middle of an epoch of 6 batches, but .* 3"
    ):
        run(ours(train.schema), loader(folder, size=40))
    other = kr.Loader(folder / "train", 20, shuffle=True, seed=5, pool_rows=40, columns=["user", "age"])
    with pytest.raises(
        ValueError, match="step-00000004: the state is of a loader with seed=0; this one has seed=5"
    ):
        run(ours(train.schema), other)
    with pytest.raises(ValueError, match=r"in place of steps_per_epoch=n, fit train.take\(n\)"):
        run(ours(train.schema), loader(folder), steps_per_epoch=3)
    model = ours(train.schema)
    model.compile(kr.optimizers.Adagrad(0.01), "binary_crossentropy")
    with pytest.raises(ValueError, match="was saved in .* with the state of Adam"):
        run(model, loader(folder))
    with pytest.raises(ValueError, match="dense weights|deep"):
        model = kr.models.DeepFM(train.schema, 4, deep_units=[9])
        model.compile(kr.optimizers.Adam(0.01), "binary_crossentropy")
        run(model, loader(folder))
    for name in (
        "training.json",
        "rank@0-of-1.safetensors",
        "model/save-*/@dense.safetensors",
        "model/save-*/user*",
    ):
        file = sorted(latest.glob(name))[0]
        kept = file.read_bytes()
        damage(file)
        with pytest.raises(ValueError, match=f"{file.name}.* is damaged"):
            run(ours(train.schema), loader(folder))
        file.write_bytes(kept)
    run(ours(train.schema), loader(folder))


def test_arguments_that_cannot_be(folder, tmp_path):
    for every in (0, True, 1.5, "step"):
        with pytest.raises(ValueError, match="every must be"):
            kr.callbacks.Checkpoint(tmp_path, every)
    with pytest.raises(ValueError, match="keep must be"):
        kr.callbacks.Checkpoint(tmp_path, keep=0)
    train = loader(folder)
    with pytest.raises(ValueError, match="pass loader=train"):
        functional().fit(train, verbose=0, callbacks=[kr.callbacks.Checkpoint(tmp_path, 4)])
    with pytest.raises(ValueError, match="one kr.callbacks.Checkpoint"):
        ours(train.schema).fit(train, callbacks=[kr.callbacks.Checkpoint(tmp_path) for _ in range(2)])
    model = functional()
    model.compile("adam", "binary_crossentropy", steps_per_execution=4)
    with pytest.raises(ValueError, match=r"steps_per_execution=4 does not divide .* fit train.take\(4\)"):
        model.fit(train, verbose=0, callbacks=[kr.callbacks.Checkpoint(tmp_path, 4, loader=train)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["files", "memory"])
def test_fit_of_kr_parallel_model_gives_the_callback_its_loader(folder, kind, tmp_path):
    def run(*callbacks):
        keras.utils.set_random_seed(3)
        train = loader(folder)
        if kind == "memory":
            train = kr.Loader(make_table(110), 20, shuffle=True, schema=train.schema)
        x = kr.inputs(train.schema, 4)
        y = keras.layers.Dense(1, "sigmoid")(keras.layers.Dropout(0.4)(kr.layers.MLP([8])(x.concatenated)))
        model = kr.parallel.Model(x.inputs, y)
        model.compile(kr.optimizers.Adam(), "binary_crossentropy")
        # It is the first of the callbacks, but runs as the last one.
        last = [kr.callbacks.Checkpoint(tmp_path / "c", 4)] if callbacks else []
        history = model.fit(train, epochs=3, verbose=0, callbacks=[*last, *callbacks]).history
        return history, model.get_weights()

    with pytest.raises(Broken), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(BreakAt("batch", 10))
    assert kr.checkpoint.latest(tmp_path / "c").name == "step-00000008"
    (history, weights), (expected, of_expected) = run(Rates()), run()
    assert history == expected
    assert all(np.array_equal(a, b) for a, b in zip(weights, of_expected, strict=True))


def test_several_steps_at_a_time(folder, tmp_path):
    def run(*callbacks):
        keras.utils.set_random_seed(3)
        train = loader(folder)
        model = functional()
        model.compile("adam", "binary_crossentropy", steps_per_execution=2)
        own = [kr.callbacks.Checkpoint(tmp_path / "c", 3, loader=train)] if callbacks else []
        model.fit(train, epochs=3, verbose=0, callbacks=[*callbacks, *own])
        return model.get_weights()

    with pytest.raises(Broken), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(BreakAt("batch", 6))
    assert kr.checkpoint.latest(tmp_path / "c").name == "step-00000010"
    assert all(np.array_equal(a, b) for a, b in zip(run(Rates()), run(), strict=True))


def test_a_callback_of_unknown_state_is_named(folder, tmp_path):
    train = loader(folder)
    with pytest.warns(UserWarning, match="the attributes of callback BreakAt are not in the checkpoints"):
        ours(train.schema).fit(
            train, verbose=0, callbacks=[BreakAt("batch", 99), kr.callbacks.Checkpoint(tmp_path / "c")]
        )


def test_a_loop_of_ones_own(folder, tmp_path):
    def made():
        keras.utils.set_random_seed(3)
        return functional(), loader(folder)

    def steps(model, train):
        for features, target in train:
            yield {
                name: float(value)
                for name, value in model.train_on_batch(features, target, return_dict=True).items()
            }

    model, train = made()
    expected = [logs for _ in range(2) for logs in steps(model, train)]
    model, train = made()
    found = []
    for logs in steps(model, train):
        found.append(logs)
        if len(found) == 4:
            kr.checkpoint.save(model, tmp_path / "c", loader=train)
            break
    kr.checkpoint.save(model, tmp_path / "c", loader=train)
    with pytest.raises(FileExistsError):
        kr.checkpoint.save(model, tmp_path / "c", overwrite=False)
    model, train = made()
    at = kr.checkpoint.load(model, tmp_path / "c", loader=train)
    assert (at.step, at.epoch, at.batch, at.finished) == (4, 0, 4, False)
    found += [logs for _ in range(2) for logs in steps(model, train)]
    assert found == expected
    with pytest.raises(FileNotFoundError, match="is not a checkpoint"):
        kr.checkpoint.load(model, tmp_path / "nothing")
    (tmp_path / "c" / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match=r"letter\.txt"):
        kr.checkpoint.save(model, tmp_path / "c")
    shutil.rmtree(tmp_path / "c")
