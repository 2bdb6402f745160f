"""What holds for every model of `ZOO`: it learns, is saved, loaded elsewhere and served, whatever the columns."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from model_cases import COLUMNS, TARGETS, UNDEFINED, ZOO, batch_of, labels_of, zoo_schema

import kerasrec as kr
from kerasrec.schema import SchemaError

ROWS = 400
X, _ = batch_of(ROWS)
WITHOUT_TOWERS = ("LR", "FM", "FwFM")


@pytest.fixture(params=list(ZOO))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The rows on disk, as the ETL writes them, with every target."""
    folder = tmp_path_factory.mktemp("zoo")
    genres = pa.array([[int(i) for i in row if i] for row in X["genres"]], pa.list_(pa.int32()))
    labels = {target: y[:, 0] for target, y in labels_of(X).items()}
    pq.write_table(pa.table({**X, "genres": genres, **labels}), folder / "part-00000.parquet")
    kr.Schema([*COLUMNS.values(), *TARGETS.values()]).save(folder)
    return folder


def outputs_of(model, x):
    """The predictions of each target, `(batch, 1)` as NumPy."""
    y = model(x)
    return {target: np.asarray(values) for target, values in (y if isinstance(y, dict) else {"": y}).items()}


def assert_close(one, other, **tolerance):
    assert set(one) == set(other)
    for target in one:
        np.testing.assert_allclose(one[target], other[target], **tolerance)


def test_learns_from_a_loader_is_loaded_and_served(name, data, tmp_path):
    """With two heads of different tasks at least, by default losses; the SavedModel is what is compared traced."""
    keras.utils.set_random_seed(0)
    schema = zoo_schema(name)
    targets = schema.targets.names if len(schema.targets) > 1 else ["clicked", "rating"]
    loader = kr.Loader(data, batch_size=40, shuffle=True, targets=targets)
    model = ZOO[name](loader.schema)
    model.compile(kr.optimizers.Adagrad(0.1))
    history = model.fit(loader, epochs=8, verbose=0).history
    for target in targets:
        assert history[f"{target}_loss"][-1] < history[f"{target}_loss"][0]
    assert history["clicked_loss"][-1] < 0.9 * history["clicked_loss"][0]
    assert history["clicked_auc"][-1] > 0.8

    predictions = outputs_of(model, X)
    model.save(tmp_path / "model.keras")
    copy = kr.load_model(tmp_path / "model.keras")
    assert_close(outputs_of(copy, X), predictions, atol=1e-6)
    if name in (
        "MMoE",
        "DIEN",
    ):  # that a copy is compiled, and what predict returns, is no matter of the architecture
        expected = model.evaluate(loader, return_dict=True, verbose=0)
        assert copy.evaluate(loader, return_dict=True, verbose=0) == pytest.approx(expected, rel=1e-4)
        plain = kr.Loader(data, batch_size=64, targets=targets)
        assert_close(copy.predict(plain, verbose=0), predictions, atol=1e-6)

    served = kr.serving.load(kr.serving.export(copy, tmp_path / "served"))
    genres = tf.RaggedTensor.from_tensor(X["genres"], padding=0)
    wire = {"genres__values": genres.values, "genres__offsets": genres.row_splits}
    wire |= {column: tf.constant(X[column]) for column in X if column != "genres"}
    assert_close({target: np.asarray(y) for target, y in served(**wire).items()}, predictions, atol=2e-6)


def test_forms_of_a_batch(name):
    """Ragged and padded lists, columns of shape (batch, 1), one row, and no row."""
    model = ZOO[name](zoo_schema(name))
    x = {column: ids[:30] for column, ids in X.items()}
    assert not x["genres"].any(axis=1).all()  # some lists are empty
    expected = outputs_of(model, x)
    ragged = {**x, "genres": tf.RaggedTensor.from_tensor(x["genres"], padding=0)}
    wider = {**x, "genres": np.pad(x["genres"], [(0, 0), (0, 2)])}
    columns = {column: ids[:, None] if ids.ndim == 1 else ids for column, ids in x.items()}
    for other in (ragged, wider, columns):
        assert_close(outputs_of(model, other), expected, atol=1e-6)
    for rows in (slice(0, 1), slice(0, 0)):
        part = outputs_of(model, {column: ids[rows] for column, ids in x.items()})
        assert_close(part, {target: y[rows] for target, y in expected.items()}, atol=1e-6)


def test_every_weight_has_a_gradient_and_tables_a_sparse_one(name):
    model = ZOO[name](zoo_schema(name))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    with tf.GradientTape() as tape:
        y = model(X, training=True)
        loss = sum(tf.reduce_mean(tf.square(o - 3.0)) for o in (y.values() if isinstance(y, dict) else [y]))
        loss += sum(model.losses)
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.path
        assert isinstance(gradient, tf.IndexedSlices) == ("tables_" in variable.path), variable.path


def test_config_makes_the_same_network(name):
    dropout = {} if name in WITHOUT_TOWERS else {"dropout": 0.25}
    model = ZOO[name](zoo_schema(name), **dropout, name="mine")
    copy = type(model).from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    assert [w.shape for w in copy.weights] == [w.shape for w in model.weights]
    model(X)
    assert len(model.weights) == len(copy.weights)  # nothing was built by the first batch


COLUMN_SETS = [
    ("user",),
    ("age",),
    ("genres",),
    ("user", "age"),
    ("genres", "price", "age"),
    ("user", "favourite"),
]


def test_any_columns(name):
    """A model works with any columns, or says which it needs."""
    for columns in COLUMN_SETS:
        if columns in UNDEFINED.get(name, ()):
            with pytest.raises(SchemaError, match="needs"):
                ZOO[name](zoo_schema(name, *columns))
            continue
        model = ZOO[name](zoo_schema(name, *columns))
        for y in outputs_of(model, X).values():
            assert y.shape == (ROWS, 1)
            assert np.isfinite(y).all()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(name, policy):
    exact, model = ZOO[name](zoo_schema(name)), ZOO[name](zoo_schema(name), dtype=policy)
    model.set_weights(exact.get_weights())
    predictions = outputs_of(model, X)
    assert {y.dtype for y in predictions.values()} == {np.dtype("float32")}
    assert_close(predictions, outputs_of(exact, X), atol=0.03)


# Which process imports a class is a matter of its file, not of its network: one of each package.
OF_EACH_PACKAGE = ("xDeepFM", "WideAndDeep crossed", "MMoE", "DIN", "FinalMLP")


@pytest.mark.parametrize("names", [OF_EACH_PACKAGE, pytest.param(ZOO, marks=pytest.mark.nightly)])
def test_files_are_loaded_by_processes_that_know_no_class_yet(names, tmp_path):
    np.savez(tmp_path / "x.npz", **X)
    expected = {}
    for number, name in enumerate(names):
        model = ZOO[name](zoo_schema(name))
        model.save(tmp_path / f"{number}.keras")
        expected[number] = outputs_of(model, X)
    command = [sys.executable, Path(__file__).with_name("loaded.py"), "keras first", tmp_path]
    subprocess.run(command, check=True, timeout=600)
    for number, predictions in expected.items():
        loaded = np.load(tmp_path / f"{number}.npy", allow_pickle=True)
        loaded = loaded.item() if loaded.dtype == object else {"": loaded}
        assert_close({target: np.asarray(y) for target, y in loaded.items()}, predictions, atol=1e-6)


def test_names_of_the_zoo_are_in_the_registry():
    known = set(kr.models.registry.BY_NAME.values())
    classes = {type(make(zoo_schema(name))) for name, make in ZOO.items()}
    assert classes <= known
