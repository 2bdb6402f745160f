"""Weights of rows: what is yielded, what Keras makes of it, what is refused."""

import keras
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import tensorflow as tf
from device_engines import ENGINES, by_numpy, host_batches
from loader_data import make_schema, make_table, write

import kerasrec as kr
from kerasrec import etl
from kerasrec.data import Loader
from kerasrec.schema import Column, Schema, SchemaError

ROWS = 500
INPUTS = ["user", "age"]


def weights(dtype="float32"):
    return (np.random.default_rng(1).integers(0, 8, ROWS) / 2).astype(dtype)


def table_of(values, kind=None):
    table = make_table(ROWS).append_column("w", pa.array(values, kind))
    return table.append_column("stars", pa.array(np.arange(ROWS) % 5, pa.int8()))


def schema_of(dtype="float32", tags=("continuous",)):
    more = [Column("w", dtype, tags), Column("stars", "int8", ("target", "regression"))]
    return Schema([*make_schema(), *more])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("weights") / "data", table_of(weights()), schema_of(), files=3)


@pytest.mark.parametrize("engine", [pytest.param(Loader, id="arrow"), *ENGINES])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float64"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_weights_are_float32_beside_features_and_target(tmp_path, engine, dtype, shuffle):
    values = weights(dtype)
    write(tmp_path, table_of(values), schema_of(dtype), files=2)
    loader = engine(
        tmp_path, 64, shuffle=shuffle, lists="padded", targets="clicked", sample_weight="w", pool_rows=200
    )
    seen = 0
    for features, target, weight in host_batches(loader):
        assert list(features) == ["row", "user", "age", "tags"]
        assert (target.shape, weight.shape, weight.dtype) == ((len(weight), 1), (len(weight),), np.float32)
        assert np.array_equal(weight, values[features["row"]].astype("float32"))
        seen += len(weight)
    assert seen == ROWS
    assert "w" not in loader.schema.features
    assert "w" not in loader.schema.targets
    assert loader.sample_weight == "w"


def test_every_face_has_them(folder):
    expected = list(Loader(folder, 64, lists="padded", sample_weight="w"))
    loader = Loader(folder, 64, lists="padded", sample_weight="w")
    for batches in (loader.get_tf_dataset(), loader.tensorflow(), loader.take(len(loader)), [loader.peek()]):
        for (_, _, weight), (_, target, other) in zip(batches, expected, strict=False):
            assert np.array_equal(weight, other)
            assert list(target) == ["clicked", "stars"]
    assert loader.get_tf_dataset().element_spec[2] == tf.TensorSpec((None,), tf.float32)
    assert "weight: w" in repr(loader)
    assert len(expected[0]) == 3
    assert len(next(iter(Loader(folder, 64)))) == 2


def dense():
    """A model of two inputs whose first weights are always the same."""
    keras.utils.set_random_seed(3)
    inputs = {"user": keras.Input((), dtype="int32", name="user"), "age": keras.Input((), name="age")}
    joined = keras.ops.stack([keras.ops.cast(inputs["user"], "float32") / 50, inputs["age"]], axis=1)
    return inputs, keras.layers.Dense(4, activation="tanh")(joined)


def one_output():
    inputs, x = dense()
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x))
    metrics = [keras.metrics.AUC(name="auc"), keras.metrics.MeanSquaredError(name="mse")]
    model.compile(keras.optimizers.SGD(0.5), "binary_crossentropy", weighted_metrics=metrics, metrics=["mae"])
    return model


def two_outputs():
    inputs, x = dense()
    outputs = {
        "clicked": keras.layers.Dense(1, activation="sigmoid", name="clicked")(x),
        "stars": keras.layers.Dense(1, name="stars")(x),
    }
    model = keras.Model(inputs, outputs)
    losses = {"clicked": "binary_crossentropy", "stars": "mse"}
    model.compile(keras.optimizers.SGD(0.05), losses, weighted_metrics={"clicked": ["mse"], "stars": ["mae"]})
    return model


def arrays(table, targets):
    x = {name: table[name].to_numpy() for name in INPUTS}
    y = {name: table[name].to_numpy().astype("float32")[:, None] for name in targets}
    return x, y if len(y) > 1 else y[targets[0]]


@pytest.mark.parametrize(("make", "targets"), [(one_output, ["clicked"]), (two_outputs, ["clicked", "stars"])])
@pytest.mark.parametrize("weighted", [True, False])
def test_fit_is_keras_on_arrays(folder, make, targets, weighted):
    """The same losses, metrics and weights as of arrays in memory with `sample_weight`, one target or several."""
    loader = Loader(folder, 64, columns=INPUTS, targets=targets, sample_weight="w" if weighted else None)
    x, y = arrays(table_of(weights()), targets)
    w = weights() if weighted else None
    ours, theirs = make(), make()
    found = ours.fit(loader, epochs=2, validation_data=loader, verbose=0).history
    kept = {"batch_size": 64, "shuffle": False, "verbose": 0}
    validation = (x, y) if w is None else (x, y, w)
    expected = theirs.fit(
        x, y, sample_weight=w, epochs=2, validation_data=validation, validation_batch_size=64, **kept
    )
    assert found.keys() == expected.history.keys()
    for name, values in expected.history.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, err_msg=name)
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-7)
    evaluated = ours.evaluate(loader, return_dict=True, verbose=0)
    for name, value in theirs.evaluate(x, y, sample_weight=w, batch_size=64, return_dict=True, verbose=0).items():
        np.testing.assert_allclose(evaluated[name], value, rtol=1e-6, err_msg=name)
    predicted, other = (m.predict(d, verbose=0) for m, d in ((ours, loader), (theirs, x)))
    for name in targets if len(targets) > 1 else [...]:
        np.testing.assert_allclose(predicted[name], other[name], rtol=1e-5)


@pytest.mark.parametrize("engine", [Loader, by_numpy])
def test_models_weigh(folder, engine):
    """The loss of `evaluate` is the closed form: weighted and divided by rows. `predict` leaves weights out."""
    columns = ["user", "age", "tags"]
    loader = engine(folder, 64, lists="padded", columns=columns, targets="clicked", sample_weight="w")
    model = kr.models.DLRM(loader.schema, embedding_dim=4, bottom_units=[4], top_units=[4])
    model.compile(kr.optimizers.Adagrad(0.1), "binary_crossentropy")
    assert model.continuous.columns == ("age",)
    model.fit(loader, epochs=1, verbose=0)
    p = model.predict(loader, verbose=0)[:, 0].astype("float64")
    label = table_of(weights())["clicked"].to_numpy()
    loss = -(weights() * np.log(np.where(label == 1, p, 1 - p))).sum() / ROWS
    assert model.evaluate(loader, verbose=0) == pytest.approx(loss, rel=1e-5)


BY_TARGET = {"clicked": "w", "stars": "clicked"}  # stars count where there was a click


def test_each_target_can_have_its_own(folder):
    loader = Loader(folder, 64, columns=INPUTS, sample_weight=BY_TARGET)
    assert loader.sample_weight == BY_TARGET
    assert "target: clicked, stars; weight: w for clicked, clicked for stars" in repr(loader)
    assert loader.schema.features.names == INPUTS
    table = table_of(weights())
    expected = {"clicked": weights(), "stars": table["clicked"].to_numpy().astype("float32")}
    for batches in (loader, loader.get_tf_dataset(), loader.tensorflow(), loader.map(lambda *batch: batch)):
        seen = [batch[2] for batch in batches]
        for name, values in expected.items():
            assert np.array_equal(np.concatenate([weight[name] for weight in seen]), values)
    # One that is left out weighs 1; a loader's schema says the same to the next loader.
    one = Loader(folder, ROWS, sample_weight={"clicked": "w"})
    for again in (one, Loader(folder, ROWS, schema=one.schema)):
        weight = again.peek()[2]
        assert again.sample_weight == {"clicked": "w"}
        assert np.array_equal(weight["clicked"], weights())
        assert np.array_equal(weight["stars"], np.ones(ROWS))
    # Of a single target, or the same for all, there is one array, as without a dict.
    for arguments in (
        {"targets": "clicked", "sample_weight": {"clicked": "w"}},
        {"sample_weight": {"clicked": "w", "stars": "w"}},
        {"schema": one.schema, "targets": "clicked"},
    ):
        same = Loader(folder, ROWS, **arguments)
        assert same.sample_weight == "w"
        assert np.array_equal(same.peek()[2], weights())
    for arguments in ({"sample_weight": False}, {"targets": "stars"}, {"sample_weight": {}}):
        assert Loader(folder, ROWS, schema=one.schema, **arguments).sample_weight is None


def test_fit_is_keras_on_arrays_with_a_dict_of_weights(folder):
    loader = Loader(folder, 64, columns=INPUTS, sample_weight=BY_TARGET)
    x, y = arrays(table_of(weights()), ["clicked", "stars"])
    w = {"clicked": weights(), "stars": y["clicked"][:, 0]}
    ours, theirs = two_outputs(), two_outputs()
    history = ours.fit(loader, epochs=2, verbose=0).history
    kept = {"batch_size": 64, "shuffle": False, "verbose": 0}
    expected = theirs.fit(x, y, sample_weight=w, epochs=2, **kept).history
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5, err_msg=name)
    evaluated = ours.evaluate(loader, return_dict=True, verbose=0)
    for name, value in theirs.evaluate(x, y, sample_weight=w, batch_size=64, return_dict=True, verbose=0).items():
        np.testing.assert_allclose(evaluated[name], value, rtol=1e-5, err_msg=name)


def test_a_model_of_several_targets_weighs_each_by_its_own(folder):
    """Losses and weighted metrics are the closed form, and an unknown target counts for nothing."""
    loader = Loader(folder, 64, lists="padded", columns=[*INPUTS, "tags"], sample_weight=BY_TARGET)
    model = kr.models.SharedBottom(loader.schema, 4, [4], [4])
    model.compile(weighted_metrics={"clicked": ["mae"], "stars": ["mae"]}, loss_weights={"stars": 0.5})
    model.fit(loader, verbose=0)
    result = model.evaluate(loader, return_dict=True, verbose=0)
    predicted = model.predict(loader, verbose=0)
    table = table_of(weights())
    label, stars = (table[name].to_numpy().astype("float64") for name in ("clicked", "stars"))
    p, number = (predicted[name][:, 0].astype("float64") for name in ("clicked", "stars"))
    clicked = -np.mean(weights() * np.log(np.where(label == 1, p, 1 - p)))
    rated = np.mean(label * (number - stars) ** 2)
    assert result["clicked_loss"] == pytest.approx(clicked, rel=1e-4)
    assert result["stars_loss"] == pytest.approx(rated, rel=1e-4)
    assert result["loss"] == pytest.approx(clicked + 0.5 * rated, rel=1e-4)
    assert result["stars_mae"] == pytest.approx(np.average(np.abs(number - stars), weights=label), rel=1e-4)

    def shifted(x, y, w):
        return x, {**y, "stars": y["stars"] + 100 * (1 - w["stars"])[:, None]}, w

    changed = model.evaluate(loader.map(shifted), return_dict=True, verbose=0)
    assert changed == pytest.approx(result, rel=1e-5)


def test_a_workflow_says_what_a_target_weighs(tmp_path):
    frame = pl.DataFrame(
        {
            "age": [1.0, 2.0, 3.0, 4.0],
            "w": [0.5, 1.0, 2.0, 3.0],
            "clicked": [0, 1, 1, 0],
            "bought": [None, 1, 0, None],
        }
    )
    targets = [Column(name, "float32", ("target", "binary")) for name in ("clicked", "bought")]
    with pytest.raises(ValueError, match=r"'bought' has 1 null.* weigh 0, with sample_weight={'bought': ...}"):
        Loader(frame, schema=Schema([Column("age", "float64", ("continuous",)), *targets]))
    bought = ["bought"] >> etl.FillMissing(0) >> etl.Target(weight="clicked")
    columns = (["age"] >> etl.Normalize()) + (["w"] >> etl.AddTags("weight"))
    workflow = etl.Workflow(columns + (["clicked"] >> etl.Target()) + bought).fit(frame)
    workflow.transform(frame).to_parquet(tmp_path / "data")
    for data in (tmp_path / "data", workflow.transform(frame)):
        _, target, weight = Loader(data).peek()
        assert weight["clicked"].tolist() == [0.5, 1.0, 2.0, 3.0]  # the tagged one is for the others
        assert weight["bought"].tolist() == [0.0, 1.0, 1.0, 0.0]
        assert target["bought"][:, 0].tolist() == [0.0, 1.0, 0.0, 0.0]
    assert "bought   float32  binary target (weight: clicked)" in repr(workflow.output_schema)
    workflow.save(tmp_path / "workflow")
    loaded = etl.Workflow.load(tmp_path / "workflow")
    assert loaded.output_schema == workflow.output_schema
    model = kr.models.ESMM(workflow.output_schema, 2, [2])
    model.compile(weighted_metrics=["auc"])
    model.fit(workflow.transform(frame), verbose=0)
    alone = etl.Workflow((["age"] >> etl.Normalize()) + bought).fit(frame)
    with pytest.raises(SchemaError, match="target 'bought': its weight, column 'clicked', is not in the schema"):
        Loader(alone.transform(frame))


BAD = [
    ([None, *weights()[1:]], pa.float32(), " has 1 null; fill them first"),
    ([-0.5, *weights()[1:]], pa.float32(), ": -0.5 cannot be a weight; weights must be finite and >= 0"),
    ([-2, *range(1, ROWS)], pa.int16(), ": -2.0 cannot be a weight"),
    ([np.inf, *weights()[1:]], pa.float32(), ": inf cannot be a weight"),
    ([1e300, *weights()[1:]], pa.float64(), ": (1e.300|inf) cannot be a weight"),
    ([-1.0, *weights()[1:]], pa.float16(), ": -1.0 cannot be a weight"),
    ([np.nan, *weights()[1:]], pa.float32(), " contains NaN; fill it first"),
]


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("engine", [Loader, by_numpy])
@pytest.mark.parametrize(("values", "kind", "message"), BAD)
def test_what_is_no_weight_is_named(tmp_path, values, kind, message, engine, statistics):
    values = [None if value is None else np.dtype(kind.to_pandas_dtype()).type(value) for value in values]
    dtype = str(np.dtype(kind.to_pandas_dtype()))
    write(tmp_path, table_of(values, kind), schema_of(dtype), write_statistics=statistics)
    with pytest.raises(ValueError, match=f"part-00000.parquet: column 'w'{message}"):
        list(engine(tmp_path, 64, lists="padded", sample_weight="w").take(1)._stream.batches())


def test_a_bad_weight_in_a_footer_is_found_at_construction(tmp_path):
    write(tmp_path, table_of([1.0] * (ROWS - 1) + [-1.0], pa.float32()), schema_of())
    with pytest.raises(ValueError, match=r"column 'w': -1.0 cannot be a weight"):
        Loader(tmp_path, sample_weight="w")
    assert len(Loader(tmp_path)) == 1  # as a feature it may be what it likes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"sample_weight": "shoe"},
            "sample_weight: no column 'shoe' in the schema; available: row, user, age, tags",
        ),
        ({"sample_weight": "tags"}, "sample_weight='tags' is a list column in the schema"),
        ({"sample_weight": "user"}, "sample_weight='user' is categorical in the schema"),
        ({"sample_weight": "w", "columns": ["w", "age"]}, "sample_weight='w' is also in columns="),
        ({"sample_weight": "clicked", "targets": "clicked"}, "sample_weight='clicked' is also in targets="),
        (
            {"sample_weight": {"bought": "w"}},
            "sample_weight: no target 'bought' is yielded; targets: clicked, stars",
        ),
        ({"sample_weight": {"clicked": "shoe"}}, "sample_weight: no column 'shoe' in the schema"),
        ({"sample_weight": {"clicked": "w"}, "columns": ["w"]}, "sample_weight='w' is also in columns="),
        ({"sample_weight": {"clicked": "user"}}, "sample_weight='user' is categorical in the schema"),
        ({"sample_weight": "w", "targets": []}, "sample_weight='w' weights the loss of a target, but there is no"),
    ],
)
def test_arguments(folder, arguments, message):
    with pytest.raises((ValueError, SchemaError), match=message):
        Loader(folder, **arguments)


def test_the_only_column_tagged_weight_is_used(folder):
    schema = schema_of(tags=("weight",))
    loader = Loader(folder, ROWS, schema=schema)
    assert loader.peek()[2].tolist() == weights().tolist()
    assert "target: clicked, stars; weight: w" in repr(loader)
    for arguments in ({"sample_weight": False}, {"targets": []}):
        without = Loader(folder, ROWS, schema=schema, **arguments)
        assert "; weight" not in repr(without)
        assert without.sample_weight is None
        assert "w" not in without.schema
    both = Schema([*schema, Column("row2", "float32", ("weight",))])
    with pytest.raises(ValueError, match="the schema has several weights, 'w', 'row2'; name one with"):
        Loader(folder, schema=both)


def test_a_column_that_was_a_target_can_weigh(folder):
    _, target, weight = Loader(folder, ROWS, sample_weight="stars").peek()
    assert weight.tolist() == (np.arange(ROWS) % 5).tolist()
    assert target.shape == (ROWS, 1)


def test_a_folder_s_name_can_weigh(tmp_path):
    for weight in ("0.5", "2"):
        write(tmp_path / f"w={weight}", make_table(10))
        (tmp_path / f"w={weight}" / "schema.json").rename(tmp_path / "schema.json")
    schema = Schema([*make_schema(), Column("w", "float32")])
    found = [batch[2] for batch in Loader(tmp_path, 10, schema=schema, sample_weight="w")]
    assert np.concatenate(found).tolist() == [0.5] * 10 + [2.0] * 10
    write(tmp_path / "w=-1", make_table(10))
    with pytest.raises(ValueError, match=r"w=-1/part-00000.parquet: column 'w': -1.0 cannot be a weight"):
        Loader(tmp_path, schema=schema, sample_weight="w")
