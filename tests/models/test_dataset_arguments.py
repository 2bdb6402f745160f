"""What `workflow.transform` returns as the data of `fit`, `evaluate` and `predict`."""

import keras
import numpy as np
import polars as pl
import pytest

import kerasrec as kr
from kerasrec import etl
from kerasrec.schema import SchemaError

ROWS = 400


def make_frame(rows=ROWS, seed=0):
    rng = np.random.default_rng(seed)
    frame = {
        "user id": rng.integers(0, 20, rows),
        "item": [f"i{i}" for i in rng.integers(0, 30, rows)],
        "tags": [rng.integers(0, 5, size).tolist() for size in rng.integers(0, 4, rows)],
        "age": rng.normal(size=rows),
        "clicked": rng.integers(0, 2, rows),
        "rating": rng.normal(size=rows),
    }
    return pl.DataFrame(frame, schema_overrides={"tags": pl.List(pl.Int64)})


def make_workflow(*targets):
    cats = ["user id", "item", "tags"] >> etl.Categorify()
    return etl.Workflow(cats + (["age"] >> etl.Normalize()) + (list(targets) >> etl.Target()))


@pytest.fixture(scope="module")
def workflow():
    return make_workflow("clicked").fit(make_frame())


@pytest.fixture
def model(workflow):
    return make_model(workflow)


def make_model(workflow, **how):
    keras.utils.set_random_seed(1)
    model = kr.models.DLRM(workflow.output_schema, embedding_dim=4, bottom_units=[4], top_units=[8], **how)
    model.compile()
    return model


def test_fit_is_that_of_a_shuffled_loader(workflow, tmp_path):
    train, valid = make_frame(), make_frame(100, seed=1)
    by_hand, model = make_model(workflow), make_model(workflow)
    for name, frame in (("train", train), ("valid", valid)):
        workflow.transform(frame).to_parquet(tmp_path / name)
    loader = kr.Loader(tmp_path / "train", shuffle=True)
    expected = by_hand.fit(loader, validation_data=kr.Loader(tmp_path / "valid"), epochs=2, verbose=0)
    found = model.fit(workflow.transform(train), validation_data=workflow.transform(valid), epochs=2, verbose=0)
    assert found.history == expected.history
    assert loader.batch_size == 64
    for one, other in zip(model.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_arguments_of_fit_apply_to_a_dataset_as_to_arrays(workflow):
    made = []
    model, frame = make_model(workflow), make_frame()

    class Keep(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            made.append(self.params["steps"])

    callbacks = [Keep()]
    dataset = workflow.transform(frame)
    model.fit(dataset, batch_size=100, callbacks=callbacks, verbose=0)
    model.fit(dataset, batch_size=100, callbacks=callbacks, validation_split=0.5, verbose=0)
    assert made == [4, 2]
    history = model.fit(dataset, validation_split=0.25, batch_size=50, shuffle=False, verbose=0).history
    held_out = workflow.transform(frame[300:])
    assert history["val_loss"] == pytest.approx([model.evaluate(held_out, return_dict=True, verbose=0)["loss"]])
    with pytest.raises(ValueError, match=r"validation_split must be in \[0, 1\)"):
        model.fit(dataset, validation_split=1.5)
    with pytest.raises(ValueError, match="y: Keras ignores this argument"):
        model.fit(dataset, y=np.zeros(ROWS), verbose=0)


def test_each_fit_has_an_order_of_its_own(workflow):
    orders = []

    class Spy(kr.models.DLRM):
        def train_step(self, *args):
            x, _ = args[-1]
            orders.append(np.asarray(x["age"]).tolist())
            return super().train_step(*args)

    model = Spy(workflow.output_schema, embedding_dim=4, bottom_units=[4], top_units=[8])
    model.compile(run_eagerly=True)
    dataset = workflow.transform(make_frame(50))
    for shuffle in (True, True, False):
        model.fit(dataset, shuffle=shuffle, verbose=0)
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(orders[2])
    assert orders[0] != orders[1] != orders[2]
    assert orders[2] == dataset.collect()["age"].to_list()


@pytest.mark.parametrize("rows", [0, 1, 3, ROWS])
def test_predict_returns_a_prediction_per_row_in_their_order(workflow, model, rows):
    frame = make_frame()
    expected = model.predict(kr.Loader(workflow.transform(frame), batch_size=ROWS, targets=[]), verbose=0)
    dataset = workflow.transform(frame.head(rows).drop("clicked", "rating"), targets=False)
    found = model.predict(dataset, verbose=0)
    assert (found.shape, found.dtype) == ((rows, 1), np.float32)
    np.testing.assert_allclose(found, expected[:rows], rtol=1e-5)


def test_several_targets(workflow):
    frame = make_frame()
    workflow = make_workflow("clicked", "rating").fit(frame)
    model = make_model(workflow)
    model.fit(workflow.transform(frame), verbose=0)
    found = model.predict(workflow.transform(frame.head(3), targets=False), verbose=0)
    assert {name: output.shape for name, output in found.items()} == {"clicked": (3, 1), "rating": (3, 1)}
    none = model.predict(workflow.transform(frame.head(0), targets=False), verbose=0)
    assert {name: output.shape for name, output in none.items()} == {"clicked": (0, 1), "rating": (0, 1)}
    one_of_two = make_model(make_workflow("rating").fit(frame))  # which takes its own of the dataset's targets
    assert set(one_of_two.evaluate(workflow.transform(frame), return_dict=True, verbose=0)) == {"loss", "rmse"}


@pytest.mark.parametrize("weight", ["w", {"rating": "clicked"}], ids=str)
def test_sample_weight_names_columns_as_in_a_loader(weight):
    frame = make_frame().with_columns(w=pl.Series(np.arange(ROWS) % 4 / 2, dtype=pl.Float32))
    users, targets = ["user id"] >> etl.Categorify(), ["clicked", "rating"] >> etl.Target()
    dataset = etl.Workflow(users + targets + ["w"]).fit(frame).transform(frame)
    loader = kr.Loader(dataset, batch_size=64, sample_weight=weight)

    def lr():
        keras.utils.set_random_seed(1)
        model = kr.models.LR(kr.Schema([dataset.schema[name] for name in ("user id", "clicked", "rating")]))
        model.compile(run_eagerly=True)
        return model

    same = {"epochs": 2, "verbose": 0}
    expected = lr().fit(loader, validation_data=loader, **same).history
    size = {"batch_size": 64, "validation_batch_size": 64, "shuffle": False, "sample_weight": weight}
    assert lr().fit(dataset, validation_data=dataset, **size, **same).history == pytest.approx(expected)
    expected = lr().evaluate(loader, verbose=0)
    found = lr().evaluate(dataset, batch_size=64, sample_weight=weight, verbose=0)
    assert found == pytest.approx(expected)
    assert lr().evaluate(dataset, batch_size=64, verbose=0)[0] != pytest.approx(expected[0])
    with pytest.raises(TypeError, match="sample_weight: for a dataset pass the name of a column.*got ndarray"):
        lr().fit(dataset, sample_weight=np.ones(ROWS))
    with pytest.raises(ValueError, match="sample_weight: no column 'weight' in the schema; available: user id"):
        lr().evaluate(dataset, sample_weight="weight")


def test_what_is_no_data_says_what_is(workflow, model):
    frame = make_frame()
    for data in (frame, frame.lazy(), frame.to_pandas(), frame.to_arrow(), frame.to_dicts()):
        for method in ("fit", "evaluate", "predict"):
            with pytest.raises(
                TypeError, match=rf"{method} got a .*; pass workflow.transform\(frame\) for raw rows"
            ):
                getattr(model, method)(data)
    with pytest.raises(TypeError, match=r"got the path 'train/'; pass kr.Loader\('train/'\)"):
        model.fit("train/")
    with pytest.raises(SchemaError, match="the dataset has no target 'clicked', .*; its targets: none"):
        model.evaluate(workflow.transform(frame, targets=False))
    plain = keras.Sequential([keras.layers.Dense(1)])
    plain.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"computed when it is read, by kr.Loader\(dataset\)"):
        plain.fit(workflow.transform(frame))


class Interrupted(Exception):
    pass


class InterruptAfter(keras.callbacks.Callback):
    def __init__(self, batches):
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise Interrupted


def test_a_fit_that_was_interrupted_goes_on_with_the_same_values_bit_for_bit(workflow, tmp_path):
    frame, checkpoint = make_frame(), kr.callbacks.Checkpoint
    expected, interrupted, resumed, other = (make_model(workflow) for _ in range(4))
    expected.fit(workflow.transform(frame), epochs=2, verbose=0)
    callbacks = [InterruptAfter(9), checkpoint(tmp_path, every=2)]
    with pytest.raises(Interrupted):  # in the second epoch of 7 batches
        interrupted.fit(workflow.transform(frame), epochs=2, callbacks=callbacks, verbose=0)
    with pytest.raises(ValueError, match="the state is of a loader with data="):
        changed = frame.with_columns(age=frame["age"] + 1)
        other.fit(workflow.transform(changed), epochs=2, callbacks=[checkpoint(tmp_path)], verbose=0)
    same_values = workflow.transform(frame.to_dicts())
    resumed.fit(same_values, epochs=2, callbacks=[checkpoint(tmp_path, every=2)], verbose=0)
    for one, another in zip(resumed.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(one, another)
