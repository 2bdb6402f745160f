"""A schema with several targets: one head for each in every model, from `compile` to the served model."""

import subprocess
import sys

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from model_cases import CLICKED, COLUMNS, RATING, batch_of, schema_of

import kerasrec as kr
from kerasrec.schema import Column, Schema, SchemaError, Tag

BOUGHT = Column("a.b größe", "float32", (Tag.TARGET, Tag.BINARY))  # names that are not identifiers
ROWS = 400
X, CLICKS = batch_of(ROWS)
Y = {
    "clicked": CLICKS,
    "rating": (2 + X["price"] + (X["user"] % 3)).astype("float32")[:, None],
    "a.b größe": (X["favourite"] % 2).astype("float32")[:, None],
}


def schema_of_three():
    return Schema([*(COLUMNS[name] for name in COLUMNS), CLICKED, RATING, BOUGHT])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    genres = pa.array([[int(i) for i in row if i] for row in X["genres"]], pa.list_(pa.int32()))
    table = pa.table({**X, "genres": genres, **{name: y[:, 0] for name, y in Y.items()}})
    pq.write_table(table, folder / "part-00000.parquet")
    schema_of_three().save(folder)
    return folder


@pytest.mark.parametrize("make", ["DLRM", "WideAndDeep"], indirect=True)  # others: test_every_model
def test_learns_every_target_from_a_loader_and_is_loaded_elsewhere(make, data, tmp_path):
    keras.utils.set_random_seed(0)
    loader = kr.Loader(data, batch_size=50, shuffle=True)
    model = make(loader.schema)
    assert model.targets == ("clicked", "rating", "a.b größe")
    assert model.tasks == {"clicked": "binary", "rating": "regression", "a.b größe": "binary"}
    model.compile(kr.optimizers.Adagrad(0.1))
    before = model.evaluate(loader, return_dict=True, verbose=0)
    metrics = {"clicked_auc", "rating_rmse", "a.b größe_auc"}
    assert set(before) == metrics | {"loss", "clicked_loss", "rating_loss", "a.b größe_loss"}
    history = model.fit(loader, validation_data=loader, epochs=12, verbose=0).history
    after = model.evaluate(loader, return_dict=True, verbose=0)
    assert {name: history[f"val_{name}"][-1] for name in after} == pytest.approx(after, rel=1e-4)
    assert after["clicked_auc"] > 0.9
    assert after["a.b größe_auc"] > 0.9
    assert after["rating_rmse"] < 0.5 * Y["rating"].std()

    plain = kr.Loader(data, batch_size=50)
    predictions = model.predict(plain, verbose=0)
    assert {name: values.shape for name, values in predictions.items()} == dict.fromkeys(Y, (ROWS, 1))
    # What `evaluate` says of each target is what its predictions and labels say.
    expected = np.sqrt(np.mean((predictions["rating"] - Y["rating"]) ** 2))
    assert after["rating_rmse"] == pytest.approx(expected, rel=1e-4)
    auc = keras.metrics.AUC()
    auc.update_state(Y["a.b größe"], predictions["a.b größe"])
    assert after["a.b größe_auc"] == pytest.approx(float(auc.result()), rel=1e-4)

    config = type(model).from_config(model.get_config()).get_config()
    assert config == model.get_config()
    model.save(tmp_path / "model.keras")
    copy = kr.load_model(tmp_path / "model.keras")
    for name, values in copy.predict(plain, verbose=0).items():
        np.testing.assert_array_equal(values, predictions[name])
    assert copy.evaluate(plain, return_dict=True, verbose=0) == pytest.approx(after, rel=1e-5)
    served = kr.serving.export(copy, tmp_path / "served")
    genres = tf.RaggedTensor.from_tensor(X["genres"], padding=0)
    wire = {"genres__values": genres.values, "genres__offsets": genres.row_splits}
    wire |= {name: tf.constant(X[name]) for name in X if name != "genres"}
    answers = kr.serving.load(served)(**wire)
    assert set(answers) == set(Y)
    for name, values in answers.items():
        np.testing.assert_allclose(values, predictions[name], atol=1e-6)


SCRIPT = """
import sys, numpy as np, kerasrec as kr
model = kr.load_model(sys.argv[1])
predictions = model.predict(kr.Loader(sys.argv[2], batch_size=64), verbose=0)
np.savez(sys.argv[3], **{str(i): predictions[name] for i, name in enumerate(model.targets)})
"""


def test_a_new_process_predicts_the_same_from_the_saved_file(data, tmp_path):
    model = kr.models.DeepFM(schema_of_three(), 4, deep_units=[8])
    model.compile("adam")
    model.fit(kr.Loader(data, batch_size=50), verbose=0)
    model.save(tmp_path / "model.keras")
    arguments = [str(tmp_path / "model.keras"), str(data), str(tmp_path / "predictions.npz")]
    subprocess.run([sys.executable, "-c", SCRIPT, *arguments], check=True, capture_output=True)
    predictions = model.predict(kr.Loader(data, batch_size=64), verbose=0)
    with np.load(tmp_path / "predictions.npz") as elsewhere:
        for i, name in enumerate(model.targets):
            np.testing.assert_allclose(elsewhere[str(i)], predictions[name], atol=1e-6)


def test_one_of_the_targets_gives_the_same_model_as_a_schema_of_one(make, data):
    keras.utils.set_random_seed(3)
    chosen = make(kr.Loader(data, batch_size=50, targets="clicked").schema, seed=1)
    keras.utils.set_random_seed(3)
    single = make(schema_of(), seed=1)
    assert [w.shape for w in chosen.weights] == [w.shape for w in single.weights]
    np.testing.assert_array_equal(chosen(X), single(X))


def test_each_head_has_the_gradient_of_its_own_loss_alone(make):
    keras.utils.set_random_seed(0)
    model = make(schema_of_three())
    with tf.GradientTape(persistent=True) as tape:
        outputs = model(X)
        losses = {name: tf.reduce_mean(tf.square(outputs[name] - Y[name])) for name in outputs}
    kernel = model.logit.kernel.value
    for place, name in enumerate(model.targets):
        gradient = tape.gradient(losses[name], kernel).numpy()
        assert np.abs(gradient[:, place]).max() > 0
        assert np.abs(np.delete(gradient, place, axis=1)).max() == 0


def test_mixed_precision_returns_float32(make):
    model = make(schema_of_three(), dtype="mixed_bfloat16")
    model.compile()
    model.fit(X, Y, batch_size=100, verbose=0)
    assert {name: values.dtype for name, values in model(X).items()} == dict.fromkeys(Y, tf.float32)
    half = make(schema_of_three(), dtype="mixed_float16")
    half.compile()
    losses = half.fit(X, Y, batch_size=100, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_sample_weights_are_of_every_target(data):
    model = kr.models.WideAndDeep(schema_of_three(), 4, deep_units=[8])
    weights = np.where(X["age"] > 0, 2.0, 0.0).astype("float32")
    model.compile("sgd", loss_weights={"rating": 0.5})
    loaded = kr.Loader(data, batch_size=ROWS).map(lambda x, y: (x, y, weights))
    result = model.evaluate(loaded, return_dict=True, verbose=0)
    outputs = model(X)
    expected = float(np.mean(weights * np.square(outputs["rating"] - Y["rating"])[:, 0]))
    assert result["rating_loss"] == pytest.approx(expected, rel=1e-4)
    parts = result["clicked_loss"] + 0.5 * result["rating_loss"] + result["a.b größe_loss"]
    assert result["loss"] == pytest.approx(parts, rel=1e-4)


def test_compile_by_target():
    model = kr.models.DCN(schema_of_three(), 4, 1, deep_units=[8])
    model.compile("adagrad", loss={"rating": "mae"}, metrics={"rating": "rmse", "clicked": ["auc", "accuracy"]})
    result = model.evaluate(X, Y, return_dict=True, verbose=0)
    rows = np.abs(model(X)["rating"] - Y["rating"])
    assert result["rating_loss"] == pytest.approx(float(rows.mean()), rel=1e-4)
    assert {name for name in result if "loss" not in name} == {"rating_rmse", "clicked_auc", "clicked_accuracy"}
    model.compile(loss="mse", metrics=[keras.metrics.MeanAbsoluteError(name="mae")])
    result = model.evaluate(X, Y, return_dict=True, verbose=0)
    assert {name for name in result if "loss" not in name} == {f"{name}_mae" for name in Y}
    assert result["rating_mae"] == pytest.approx(float(rows.mean()), rel=1e-4)


REFUSED = {
    "loss of no target": ({"loss": {"ratings": "mse"}}, "loss: no target 'ratings'.* did you mean 'rating'?"),
    "losses in a list": ({"loss": ["mse", "mse", "mse"]}, "loss: pass a dict by target, {'clicked': ...}, or one"),
    "weights of no target": ({"loss_weights": {"x": 1.0}}, "loss_weights: no target 'x'"),
    "metrics of no target": ({"metrics": {"x": ["auc"]}}, "metrics: no target 'x'; the model's targets: clicked,"),
    "metrics in lists": ({"metrics": [["auc"], [], []]}, "metrics: pass a dict by target"),
    "auc of a number": ({"metrics": ["auc"]}, "metrics: AUC needs a target of 0 and 1, but 'rating' is"),
    "a binary loss for all": ({"loss": "binary_crossentropy"}, "loss 'binary_crossentropy' needs .* but 'rating'"),
    "an optimizer of no name": ({"optimizer": "adamm"}, "no optimizer 'adamm'; kr.optimizers has adagrad, adam"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_compile_refuses(case):
    arguments, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        kr.models.DCN(schema_of_three(), 4, 1, deep_units=[8]).compile(**arguments)


def test_what_has_one_target_only_is_refused_by_name(data, tmp_path):
    model = kr.models.DLRM(schema_of_three(), 8, [8], [8])
    model.compile()
    with pytest.raises(
        ValueError, match=r"class_weight: a row has one class for each of 3 targets .*loss_weights"
    ):
        model.fit(kr.Loader(data), class_weight={0: 1.0, 1: 2.0}, verbose=0)
    with pytest.raises(ValueError, match=r"has several targets, clicked, rating, .*; use model.tasks"):
        _ = model.task
    with pytest.raises(ValueError, match=r"use model.targets"):
        _ = model.target
    with pytest.raises(
        SchemaError, match=r"is trained on 'clicked', 'rating', .* but the targets of the training"
    ):
        model.fit(kr.Loader(data, targets="clicked"), verbose=0)
    with pytest.raises(ValueError, match="task: no target 'x'; the model's targets: clicked"):
        kr.models.DLRM(schema_of_three(), 8, [8], [8], task={"x": "binary"})
    turned = kr.models.DLRM(Schema([*COLUMNS.values(), RATING, CLICKED, BOUGHT]), 8, [8], [8])
    model.save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(ValueError, match="the targets of the saved model are clicked, rating"):
        turned.load_weights(tmp_path / "w.weights.h5")


def test_tasks_by_target():
    scores = Column("score", "float32", (Tag.TARGET,))
    schema = Schema([*COLUMNS.values(), scores, CLICKED])
    model = kr.models.DeepFM(schema, 8, deep_units=[8], task={"score": "regression"})
    assert model.tasks == {"score": "regression", "clicked": "binary"}
    assert type(model).from_config(model.get_config()).tasks == model.tasks
    with pytest.raises(SchemaError, match="target 'score' is tagged neither binary nor regression"):
        kr.models.DeepFM(schema, 8, deep_units=[8])
    model.compile("sgd")
    assert model.compute_output_shape({"user": (7,)}) == {"score": (7, 1), "clicked": (7, 1)}
