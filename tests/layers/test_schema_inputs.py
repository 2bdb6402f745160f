"""`kr.inputs`: a functional model on a schema trains on a Loader, is saved, loaded and served without warnings."""

import subprocess
import sys
import warnings

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import kerasrec as kr
from kerasrec import etl
from kerasrec.schema import Column, Hotness, Schema, SchemaError, Tag

CAT, CONT, LIST = Tag.CATEGORICAL, Tag.CONTINUOUS, Tag.LIST
ROWS = 300
RNG = np.random.default_rng(0)
LISTS = [list(map(int, RNG.integers(1, 20, RNG.integers(0, 4)))) for _ in range(ROWS)]
RAW = pa.table(
    {
        "user id": RNG.integers(0, 30, ROWS).astype("int32"),
        "größe": RNG.normal(size=ROWS).astype("float32"),
        "^x$": RNG.integers(0, 9, ROWS).astype("int32"),
        "a.b": pa.array(LISTS, pa.list_(pa.int32())),
        "vector": pa.array(RNG.normal(size=(ROWS, 4)).astype("float32").tolist(), pa.list_(pa.float32())),
        "unused": RNG.normal(size=ROWS).astype("float32"),
        "clicked": RNG.integers(0, 2, ROWS).astype("float32"),
    }
)
SCHEMA = Schema(
    [
        Column("user id", "int32", (CAT,), cardinality=30),
        Column("größe", "float32", (CONT,)),
        Column("^x$", "int32", (CAT,), cardinality=20, table="a.b"),
        Column("a.b", "int32", (CAT, LIST), cardinality=20, table="a.b", hotness=Hotness(0, 1.5, 3)),
        Column("vector", "float32", (CONT, LIST), hotness=Hotness(4, 4.0, 4)),
        Column("unused", "float32"),
        Column("clicked", "float32", (Tag.TARGET, Tag.BINARY)),
    ]
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    pq.write_table(RAW, folder / "part-00000.parquet")
    SCHEMA.save(folder)
    return folder


def model_of(schema, **more):
    x = kr.inputs(schema, 8, **more)
    answer = keras.layers.Dense(1, activation="sigmoid", name="clicked")(kr.layers.MLP([16])(x.concatenated))
    return kr.parallel.Model(x.inputs, answer)


@pytest.mark.parametrize("lists", ["ragged", "padded"])
def test_a_functional_model_trains_on_a_loader_without_a_warning(data, lists, tmp_path):
    keras.utils.set_random_seed(0)
    loader = kr.Loader(data, batch_size=50, lists=lists)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = model_of(loader.schema)
        model.compile(kr.optimizers.Adagrad(0.1), "binary_crossentropy")
        losses = model.fit(loader, epochs=6, validation_data=loader, verbose=0).history["loss"]
        assert losses[-1] < 0.8 * losses[0]  # it memorises noise
        predictions = model.predict(loader, verbose=0)
        model.save(tmp_path / "model.keras")
        np.testing.assert_array_equal(
            kr.load_model(tmp_path / "model.keras").predict(loader, verbose=0), predictions
        )
    other = kr.Loader(data, batch_size=64, lists="padded" if lists == "ragged" else "ragged")
    np.testing.assert_allclose(model.predict(other, verbose=0), predictions, atol=1e-6)
    served = kr.serving.load(kr.serving.export(model, tmp_path / "served"))
    answer = served.predict(RAW.select([name for name in RAW.column_names if name not in ("clicked", "unused")]))
    np.testing.assert_allclose(answer["clicked"], predictions, atol=1e-6)


def test_vectors_and_numbers_are_those_of_the_columns(data):
    loader = kr.Loader(data, batch_size=ROWS)
    x = kr.inputs(loader.schema, 8, combiner={"a.b": "sum"})
    features, _ = next(iter(loader.tensorflow()))
    parts = keras.Model(x.inputs, {"numbers": x.numbers, "all": x.concatenated, **x.embeddings})
    batch = {name: features[name] for name in x.inputs}
    found = parts(batch)
    layer = next(each for each in parts.layers if isinstance(each, kr.layers.DistributedEmbedding))
    table = layer.table("a.b")
    expected = np.stack([table[ids].sum(axis=0) for ids in LISTS])
    np.testing.assert_allclose(found["a.b"], expected, atol=1e-5)
    np.testing.assert_allclose(found["^x$"], table[RAW["^x$"].to_numpy()], atol=1e-6)
    np.testing.assert_array_equal(found["numbers"][:, 0], RAW["größe"].to_numpy())
    assert x.vectors.keys() == {"vector"}
    assert found["all"].shape == (ROWS, 1 + 4 + 3 * 8)
    assert "a.b: int32 (batch, length) -> (batch, 8)" in repr(x)


SCRIPT = """
import sys, numpy as np, kerasrec as kr
model = kr.load_model(sys.argv[1])
np.save(sys.argv[3], model.predict(kr.Loader(sys.argv[2], batch_size=64), verbose=0))
"""


def test_a_sequence_has_a_mask_that_layers_follow_also_in_a_new_process(data, tmp_path):
    keras.utils.set_random_seed(0)
    x = kr.inputs(SCHEMA, 8, combiner={"a.b": None, "^x$": None})
    assert x.embeddings["a.b"].shape == (None, None, 8)
    with pytest.raises(
        ValueError, match=r"a.b: \(batch, length, dim\) cannot be concatenated .*GlobalAveragePool"
    ):
        _ = x.concatenated
    pooled = keras.layers.GlobalAveragePooling1D()(x.embeddings["a.b"])
    answer = keras.layers.Dense(1)(keras.layers.Concatenate()([keras.layers.GRU(4)(x.embeddings["a.b"]), pooled]))
    model = kr.parallel.Model(x.inputs, answer)
    model.compile("sgd", "mse")
    loader = kr.Loader(data, batch_size=64)
    predictions = model.predict(loader, verbose=0)
    model.save(tmp_path / "model.keras")
    arguments = [tmp_path / "model.keras", data, tmp_path / "predictions.npy"]
    subprocess.run([sys.executable, "-c", SCRIPT, *map(str, arguments)], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "predictions.npy"), predictions, atol=1e-6)
    # The mean over the lists themselves, without their padding. (Of an empty list Keras's is NaN.)
    mean = keras.Model(x.inputs, pooled)
    features, _ = next(iter(kr.Loader(data, batch_size=ROWS, lists="padded").tensorflow()))
    layer = next(each for each in model.layers if isinstance(each, kr.layers.DistributedEmbedding))
    expected = [layer.table("a.b")[ids].mean(axis=0) for ids in LISTS if ids]
    found = mean({name: features[name] for name in x.inputs})[np.array([len(ids) > 0 for ids in LISTS])]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_padded_lists_of_one_place_are_still_lists():
    x = kr.inputs(Schema([Column("tags", "int32", (CAT, LIST), cardinality=5, hotness=Hotness(0, 0.5, 1))]), 8)
    vectors = keras.Model(x.inputs, x.embeddings)({"tags": np.array([[0], [3]], "int32")})["tags"]
    assert not np.any(vectors[0])
    assert np.any(vectors[1])


def test_a_workflow_serves_it(tmp_path):
    import polars as pl

    frame = pl.DataFrame(
        {"user": ["ann", "bob", None] * 20, "age": [1.0, 2.0, None] * 20, "clicked": [0, 1, 1] * 20}
    )
    workflow = etl.Workflow(
        (["user"] >> etl.Categorify()) + (["age"] >> etl.FillMissing()) + (["clicked"] >> etl.Target())
    )
    workflow.fit(frame).transform(frame).to_parquet(tmp_path / "train")
    loader = kr.Loader(tmp_path / "train", batch_size=20)
    model = model_of(loader.schema)
    model.compile("adam", "binary_crossentropy")
    model.fit(loader, verbose=0)
    served = kr.serving.load(kr.serving.export(model, tmp_path / "served", workflow=workflow))
    np.testing.assert_allclose(served.predict(frame)["clicked"], model.predict(loader, verbose=0), atol=1e-6)


def test_more_columns_than_inputs_are_left_alone_and_fewer_are_named():
    x = kr.inputs(SCHEMA.subset(["user id", "größe"]), 4)
    model = kr.parallel.Model(x.inputs, keras.layers.Dense(1)(x.concatenated))
    batch = {"user id": np.array([1, 2]), "größe": np.ones(2, "float32"), "other": np.array(["a", "b"])}
    own = {name: batch[name] for name in x.inputs}
    np.testing.assert_array_equal(model(batch), model(own))
    with pytest.raises(ValueError, match='Missing data for input "größe"'):
        model({"user id": np.array([1])})


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (Column("name", "string", (CONT,)), "column 'name' is of string, which no layer takes; make it ids"),
        (
            Column("xs", "float32", (CONT, LIST), hotness=Hotness(1, 2.0, 4)),
            "column 'xs' is a list of numbers whose",
        ),
        (Column("id", "int32", (CAT,)), "column 'id' is categorical but has no cardinality"),
        (Column("row", "int64"), "no categorical or continuous column to make an input of"),
    ],
)
def test_refuses_what_cannot_be_an_input(column, message):
    with pytest.raises(SchemaError, match=message):
        kr.inputs(Schema([column]))
