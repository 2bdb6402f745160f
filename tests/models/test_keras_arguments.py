"""Arguments of `fit`, `evaluate` and `predict` with a loader: each works, or is refused by name."""

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from model_cases import MODELS, batch_of, schema_of

import kerasrec as kr

ROWS = 96
X, Y = batch_of(ROWS)
WEIGHTS = {0: 0.25, 1: 3.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    genres = pa.array([[int(i) for i in row if i] for row in X["genres"]], pa.list_(pa.int32()))
    table = pa.table({**X, "genres": genres, "clicked": Y[:, 0]})
    pq.write_table(table, folder / "part-00000.parquet")
    schema_of().save(folder)
    return folder


def loader(data, **more):
    return kr.Loader(data, batch_size=32, **more)


def compiled(dtype=None):
    model = MODELS["DLRM"](schema_of(), seed=1, dtype=dtype)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    model.compile(
        kr.optimizers.SGD(0.5),
        loss="binary_crossentropy",
        weighted_metrics=[keras.metrics.MeanSquaredError("mse")],
    )
    return model


def own(data):
    """A model of the user's own."""
    inputs = {"age": keras.Input((), name="age"), "price": keras.Input((), name="price")}
    x = keras.layers.Dense(1, activation="sigmoid")(keras.ops.stack(list(inputs.values()), axis=1))
    model = keras.Model(inputs, x)
    model.compile("sgd", loss="binary_crossentropy")
    return model, {"columns": list(inputs)}


def test_class_weight_equals_kerass_on_arrays(data):
    ours, keras_own, plain = compiled(), compiled(), compiled()
    loaded = ours.fit(loader(data), epochs=2, class_weight=WEIGHTS, verbose=0).history
    arrays = keras_own.fit(X, Y, batch_size=32, epochs=2, shuffle=False, class_weight=WEIGHTS, verbose=0).history
    for name in ("loss", "mse"):
        np.testing.assert_allclose(loaded[name], arrays[name], rtol=1e-5)
    for mine, theirs in zip(ours.get_weights(), keras_own.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    # Only where it is asked for: the next fit of the same model is as without.
    plain.set_weights(ours.get_weights())
    again = [each.fit(loader(data), verbose=0).history["loss"] for each in (ours, plain)]
    np.testing.assert_allclose(again[0], again[1], rtol=1e-5)


def test_class_weight_leaves_validation_alone(data):
    model = compiled()
    history = model.fit(loader(data), validation_data=loader(data), class_weight={1: 7}, verbose=0).history
    assert history["val_loss"] == [pytest.approx(model.evaluate(loader(data), verbose=0)[0], rel=1e-5)]


def test_class_weight_and_sample_weight_are_not_both_taken(data):
    weighted = loader(data).map(lambda x, y: (x, y, np.ones(len(y), "float32")))
    with pytest.raises(ValueError, match=r"class_weight cannot be used with Loader\(sample_weight=...\)"):
        compiled().fit(weighted, class_weight=WEIGHTS, verbose=0)


FIT = {
    "y": {"y": Y},
    "sample_weight": {"sample_weight": np.ones(ROWS)},
    "batch_size": {"batch_size": 16},
    "validation_batch_size": {"validation_data": "loader", "validation_batch_size": 16},
    "shuffle": {"shuffle": False},
}


@pytest.mark.parametrize("argument", FIT)
@pytest.mark.parametrize("whose", ["ours", "their own"])
def test_fit_refuses_by_name(data, argument, whose):
    model, more = (compiled(), {}) if whose == "ours" else own(data)
    given = dict(FIT[argument])
    if "validation_data" in given:
        given["validation_data"] = loader(data, **more)
    with pytest.raises(ValueError, match=f"^{argument}: Keras ignores this argument when the data is a kr.Loader"):
        model.fit(loader(data, shuffle=True, **more), verbose=0, **given)


def test_a_model_of_the_users_own_refuses_class_weight(data):
    model, more = own(data)
    with pytest.raises(ValueError, match=r"^class_weight: Keras ignores .* make weights with loader.map"):
        model.fit(loader(data, **more), class_weight=WEIGHTS, verbose=0)


def test_evaluate_predict_and_validation_refuse_by_name(data):
    model, other = compiled(), loader(data)
    with pytest.raises(ValueError, match="^y: Keras ignores"):
        model.evaluate(other, Y, verbose=0)
    with pytest.raises(ValueError, match="^sample_weight: Keras ignores"):
        model.evaluate(other, sample_weight=np.ones(ROWS), verbose=0)
    with pytest.raises(ValueError, match="^batch_size: Keras ignores"):
        model.predict(other, batch_size=16, verbose=0)
    with pytest.raises(ValueError, match="^y: Keras ignores"):
        model.fit(other, validation_data=(loader(data), Y), verbose=0)
    with pytest.raises(ValueError, match="validation_split: a kr.Loader cannot be split"):
        model.fit(other, validation_split=0.1, verbose=0)
    with pytest.raises(ValueError, match="^shuffle: Keras ignores"):
        model.fit(other, shuffle=True, verbose=0)


def test_what_works(data):
    """Arrays to validate by, the loader's own sizes said again, and numbers of steps."""
    model = compiled()
    same = {"batch_size": 32, "shuffle": True}
    history = model.fit(
        loader(data, shuffle=True), **same, validation_data=(X, Y), validation_batch_size=ROWS, verbose=0
    ).history
    assert history["val_loss"] == [pytest.approx(model.evaluate(loader(data), verbose=0)[0], rel=1e-5)]
    model.fit(X, Y, batch_size=48, validation_data=loader(data), verbose=0)
    steps = int(model.optimizer.iterations)
    model.fit(loader(data), steps_per_epoch=2, validation_data=loader(data), validation_steps=1, verbose=0)
    assert int(model.optimizer.iterations) == steps + 2
    assert model.predict(loader(data), steps=2, verbose=0).shape == (64, 1)
    first = model.evaluate(X, Y, verbose=0, batch_size=32, steps=1)
    np.testing.assert_allclose(model.evaluate(loader(data), steps=1, verbose=0), first, rtol=1e-5)


def test_export_writes_the_saved_model(data, tmp_path):
    model = compiled()
    model.fit(loader(data), verbose=0)
    model.export(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    genres = tf.RaggedTensor.from_tensor(X["genres"], padding=0)
    wire = {"genres__values": genres.values, "genres__offsets": genres.row_splits}
    wire |= {name: tf.constant(X[name]) for name in X if name != "genres"}
    np.testing.assert_allclose(served(**wire)["clicked"], model(X), atol=1e-6)
    with pytest.raises(ValueError, match="format='onnx' is not supported"):
        model.export(tmp_path / "other", format="onnx")


def test_a_distribution_strategy_is_refused():
    with (
        tf.distribute.MirroredStrategy(["CPU:0"]).scope(),
        pytest.raises(ValueError, match="tf.distribute.MirroredStrategy.*horovodrun -np N python train.py"),
    ):
        kr.models.DCN(schema_of())
