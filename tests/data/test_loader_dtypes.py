"""Every dtype, of numbers, lists and lists of one size, against pyarrow's own arrays; others are refused."""

import datetime
import decimal
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from device_engines import by_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_data import write

from kerasrec.data import Loader
from kerasrec.schema import DTYPES, Column, Hotness, Schema, SchemaError

NUMBERS = [dtype for dtype in DTYPES if dtype not in ("string", "datetime")]
KINDS = ["number", "list", "large list", "fixed by the file", "fixed by the schema"]


def values_of(dtype, size, rng):
    """All sorts, the least and the greatest among them."""
    kind = np.dtype(dtype).kind
    if kind == "b":
        return rng.integers(0, 2, size).astype(bool)
    if kind == "f":
        return rng.normal(size=size).astype(dtype)
    limits = np.iinfo(dtype)
    found = rng.integers(limits.min, limits.max, size, dtype, endpoint=True)
    found[:2] = [limits.min, limits.max][:size]
    return found


def make(name, dtype, kind, rows, width, rng):
    """A column as pyarrow has it, and as a schema does."""
    lengths = rng.integers(0, width + 1, rows) if "list" in kind else np.full(rows, width)
    lengths = np.ones(rows, int) if kind == "number" else lengths
    values, offsets = pa.array(values_of(dtype, lengths.sum(), rng)), np.concatenate([[0], np.cumsum(lengths)])
    hotness = Hotness(width, width, width) if kind == "fixed by the schema" else Hotness(0, width / 2, width)
    column = Column(name, dtype, ("continuous", "list"), hotness=hotness)
    if kind == "number":
        return values, Column(name, dtype, ("continuous",))
    if kind == "fixed by the file":
        return pa.FixedSizeListArray.from_arrays(values, width), column.evolve(hotness=None)
    if kind == "large list":
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values), column
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values), column


def assert_is(found, array, dtype, kind, width, lists):
    """A whole column as it came, in file order, against pyarrow's."""
    flat = array.flatten() if kind != "number" else array
    flat = flat.to_numpy(zero_copy_only=False)
    if kind == "number":
        expected = flat
    elif "fixed" in kind:
        expected = flat.reshape(-1, width)
    elif lists == "padded":
        expected = np.zeros((len(array), width), dtype)
        for row, values in enumerate(array.to_pylist()):
            expected[row, : len(values)] = values
    else:
        found = [values[a:b] for values, ends in found for a, b in pairwise(ends)]
        assert [row.tolist() for row in found] == array.to_pylist()
        assert {str(row.dtype) for row in found} == {dtype}
        return
    found = np.concatenate(found)
    assert (found.dtype, found.shape) == (np.dtype(dtype), expected.shape)
    assert np.array_equal(found, expected)


columns_asked = st.lists(st.tuples(st.sampled_from(NUMBERS), st.sampled_from(KINDS)), min_size=1, max_size=5)


@pytest.mark.parametrize("engine", [Loader, by_numpy])
@settings(max_examples=60, deadline=None)
@given(
    asked=columns_asked,
    rows=st.integers(1, 50),
    row_group_rows=st.integers(1, 30),
    width=st.integers(1, 4),
    batch_size=st.integers(1, 60),
    pool_rows=st.integers(1, 60),
    lists=st.sampled_from(["padded", "offsets"]),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_columns_are_pyarrows(
    engine, asked, rows, row_group_rows, width, batch_size, pool_rows, lists, shuffle, seed
):
    rng = np.random.default_rng(seed)
    made = {f"c{i}": make(f"c{i}", dtype, kind, rows, width, rng) for i, (dtype, kind) in enumerate(asked)}
    table = pa.table({"row": pa.array(np.arange(rows)), **{name: array for name, (array, _) in made.items()}})
    schema = Schema([Column("row", "int64", ("continuous",)), *(column for _, column in made.values())])
    with TemporaryDirectory() as folder:
        write(Path(folder), table, schema, row_group_rows=row_group_rows)
        loader = engine(folder, batch_size, shuffle=shuffle, lists=lists, pool_rows=pool_rows)
        if engine is by_numpy:
            loader._stream.engine._dtypes = {}  # int32 as it is: this is about the files
            batches = [loader._stream.convert(batch, pair) for batch in loader._stream.batches()]
        else:
            batches = list(loader)
        order = np.concatenate([batch["row"] for batch in batches])
        assert np.array_equal(np.sort(order), np.arange(rows))
        for (name, (array, _)), (dtype, kind) in zip(made.items(), asked, strict=True):
            found = [batch[name] for batch in batches]
            assert_is(found, array.take(pa.array(order)), dtype, kind, width, lists)


def pair(column):
    return (column.values, column.offsets) if hasattr(column, "offsets") else column


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A column of each dtype and kind; the table and the folder."""
    rng = np.random.default_rng(0)
    made = {
        f"{kind} {dtype}": make(f"{kind} {dtype}", dtype, kind, 50, 3, rng) for dtype in NUMBERS for kind in KINDS
    }
    table = pa.table({name: array for name, (array, _) in made.items()})
    folder = tmp_path_factory.mktemp("dtypes") / "data"
    return table, write(folder, table, Schema(column for _, column in made.values()), row_group_rows=20)


@pytest.mark.parametrize("lists", ["padded", "offsets", "ragged"])
def test_tensorflow_has_every_dtype(everything, lists):
    table, folder = everything
    loader = Loader(folder, 16, lists=lists)
    for batches in (list(loader.get_tf_dataset()), list(loader.tensorflow())):
        for name in table.column_names:
            kind, _, dtype = name.rpartition(" ")
            found = [batch[name] for batch in batches]
            if isinstance(found[0], tf.RaggedTensor):
                assert [row for batch in found for row in batch.to_list()] == table[name].to_pylist()
                assert found[0].dtype == dtype
                continue
            arrays = [
                tuple(part.numpy() for part in each) if isinstance(each, tuple) else each.numpy() for each in found
            ]
            assert_is(arrays, table[name].combine_chunks(), dtype, kind, 3, lists)
    spec = loader.get_tf_dataset().element_spec["fixed by the file float16"]
    assert (spec.shape.as_list(), spec.dtype) == ([None, 3], tf.float16)


def test_a_model_reads_embeddings_and_halves(everything):
    """Lists of one size are dense inputs of an ordinary model."""
    _, folder = everything
    names = {"number float16": (), "fixed by the file float32": (3,), "fixed by the schema float16": (3,)}
    inputs = {name: keras.Input(shape, dtype=name.split()[-1], name=name) for name, shape in names.items()}
    parts = [keras.ops.cast(tensor, "float32") for tensor in inputs.values()]
    model = keras.Model(inputs, keras.layers.Concatenate()([parts[0][:, None], *parts[1:]]))
    loader = Loader(folder, 16, columns=list(names))
    expected = np.concatenate(
        [
            np.concatenate([np.asarray(f[n]).reshape(-1, w) for n, w in zip(names, (1, 3, 3), strict=True)], 1)
            for f in loader
        ]
    )
    assert np.array_equal(model.predict(loader, verbose=0), expected)


def vectors(values, kind, hotness=None):
    table = pa.table({"row": pa.array(range(4)), "v": pa.array(values, kind)})
    tags = ("continuous", "list")
    return table, Schema([Column("row", "int64", ("continuous",)), Column("v", "float32", tags, hotness=hotness)])


RAGGED, FIXED, TWO = pa.list_(pa.float32()), pa.list_(pa.float32(), 2), Hotness(2, 2, 2)


@pytest.mark.parametrize("engine", [Loader, by_numpy])
@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ([[1, 2], [3, 4], [5], [6, 7]], RAGGED, "has a row of 1 elements; expected 2 in every row"),
        ([[1, 2], [3, 4], [5, 6, 7], [6, 7]], RAGGED, "has a row of 3 elements; expected 2"),
        ([[1, 2], None, [3, 4], [6, 7]], RAGGED, "has a row of 0 elements; expected 2"),
        ([[1, 2], [3, None], [3, 4], [6, 7]], RAGGED, "has 1 null; fill them first"),
        ([[1, 2], [3, float("nan")], [3, 4], [6, 7]], RAGGED, "contains NaN"),
        ([[1, 2], [3, None], [3, 4], [6, 7]], FIXED, "has 1 null; fill them first"),
        ([[1, 2, 3]] * 4, pa.list_(pa.float32(), 3), "has a row of 3 elements; expected 2"),
    ],
)
def test_rows_of_another_size_are_named(tmp_path, values, kind, message, engine):
    table, schema = vectors(values, kind, TWO)
    loader = engine(write(tmp_path, table, schema), 2)
    with pytest.raises(ValueError, match=rf"part-00000.parquet: column 'v' {message}"):
        list(loader._stream.batches())


def test_a_null_in_a_list_of_one_size_is_refused(tmp_path):
    table, schema = vectors([[1, 2], None, [3, 4], [5, 6]], FIXED)
    with pytest.raises(ValueError, match="column 'v' (has . nulls|has a row of 0 elements)"):
        list(Loader(write(tmp_path, table, schema), 2))


def test_sizes_that_differ_between_files_make_an_ordinary_list(tmp_path):
    for name, width in (("a", 2), ("b", 3)):
        table, schema = vectors([[1] * width] * 4, pa.list_(pa.float32(), width))
        write(tmp_path / name, table, schema)
    loader = Loader([tmp_path / "a", tmp_path / "b"], 8)
    assert [len(row) for row in next(iter(loader))["v"].to_list()] == [2] * 4 + [3] * 4
    assert loader.schema["v"].hotness is None
    assert Loader(tmp_path / "b", 8).schema["v"].hotness == Hotness(3, 3, 3)


def test_ids_of_one_size_are_a_list_that_may_be_padded(tmp_path):
    """Where rows are ids, `lists` says what comes; the file's size is as good as the schema's hotness."""
    table = pa.table({"ids": pa.array([[1, 2], [0, 3]], pa.list_(pa.int32(), 2))})
    schema = Schema([Column("ids", "int32", ("categorical", "list"), cardinality=4)])
    write(tmp_path, table, schema)
    assert isinstance(next(iter(Loader(tmp_path, 2)))["ids"], tf.RaggedTensor)
    assert next(iter(Loader(tmp_path, 2, lists="padded")))["ids"].tolist() == [[1, 2], [0, 3]]


@pytest.mark.parametrize(
    ("values", "kind", "advice"),
    [
        (["x"], pa.string(), "encode it with etl.Categorify"),
        (["x"], pa.large_string(), "encode it with etl.Categorify"),
        ([b"x"], pa.binary(), "encode it with etl.Categorify"),
        (["x"], pa.dictionary(pa.int32(), pa.string()), "encode it with etl.Categorify"),
        ([datetime.date(2026, 1, 1)], pa.date32(), "make numbers of it with etl.TimeFeatures"),
        ([datetime.datetime(2026, 1, 1)], pa.timestamp("us"), "make numbers of it with etl.TimeFeatures"),
        ([datetime.datetime(2026, 1, 1)], pa.timestamp("ns", "UTC"), "make numbers of it with etl.TimeFeatures"),
        ([datetime.timedelta(1)], pa.duration("us"), "cast it to a float or an integer before it is written"),
        ([decimal.Decimal("1.5")], pa.decimal128(5, 2), "cast it to a float or an integer before it is written"),
        ([["x"]], pa.list_(pa.string()), "encode it with etl.Categorify"),
    ],
)
def test_what_is_no_number_is_refused_with_what_to_do(tmp_path, values, kind, advice):
    tags = ("continuous", "list") if pa.types.is_list(kind) else ("continuous",)
    write(tmp_path, pa.table({"x": pa.array(values, kind)}), Schema([Column("x", "float32", tags)]))
    with pytest.raises(SchemaError, match=rf"part-00000.parquet: column 'x' is .*, but .*float32.*; {advice}"):
        Loader(tmp_path)


@pytest.mark.parametrize(("dtype", "advice"), [("string", "etl.Categorify"), ("datetime", "etl.TimeFeatures")])
def test_a_schema_of_what_is_no_number(tmp_path, dtype, advice):
    write(tmp_path, pa.table({"x": pa.array([1])}), Schema([Column("x", dtype)]))
    with pytest.raises(
        SchemaError, match=rf"'x' contains .*s, which cannot be inputs of a model: .*{advice}, or leave it out"
    ):
        Loader(tmp_path)
