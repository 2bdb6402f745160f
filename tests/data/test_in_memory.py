"""A loader of rows in memory: the batches of the files that `to_parquet` writes, and the same checks."""

import json
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from loader_data import make_schema, make_table, threads, write

from kerasrec import etl
from kerasrec.data import Loader
from kerasrec.data.files import in_memory
from kerasrec.schema import Column, Schema, SchemaError

ROWS = 300


FORMS = {
    "arrow": lambda table: table,
    "polars": pl.from_arrow,
    "lazy": lambda table: pl.from_arrow(table).lazy(),
    "pandas": lambda table: table.to_pandas(),
    "dicts": lambda table: table.to_pylist(),
    "columns": lambda table: table.to_pydict(),
    "in pieces": lambda table: pl.concat(
        [pl.from_arrow(table.slice(0, 7)), pl.from_arrow(table.slice(7))], rechunk=False
    ),
}


def change(name, values, kind):
    table = make_table(ROWS)
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values, kind))


def broken(name, row, value):
    values = make_table(ROWS)[name].to_pylist()
    values[row] = value
    return values


def assert_equal(first, second):
    """Two batches, as nested tuples and dicts of arrays."""
    keras.tree.assert_same_structure(first, second)
    for one, other in zip(keras.tree.flatten(first), keras.tree.flatten(second), strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def small_row_groups(monkeypatch):
    """Rows in memory cut into row groups of 10, as files have them here."""
    monkeypatch.setattr(in_memory, "ROW_GROUP_ROWS", 10)


@settings(max_examples=40)
@given(
    form=st.sampled_from(sorted(FORMS)),
    rows=st.integers(8, 60),
    batch_size=st.integers(1, 70),
    pool_rows=st.integers(1, 80),
    lists=st.sampled_from(["offsets", "padded"]),
    shuffle=st.booleans(),
    rank=st.integers(0, 2),
    ranks=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**40),
)
@example("columns", 14, 1, 1, "offsets", False, 2, 3, 173)  # a batch of an empty list, and of others
def test_batches_are_those_of_files(form, rows, batch_size, pool_rows, lists, shuffle, rank, ranks, seed):
    table = make_table(rows, seed=seed % 1000)
    arguments = {"shuffle": shuffle, "seed": seed, "lists": lists, "pool_rows": pool_rows}
    arguments |= {"rank": min(rank, ranks - 1), "ranks": ranks, "batch_size": max(batch_size, 2)}
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_memory, "ROW_GROUP_ROWS", 10)
        files = Loader(write(Path(name), table, row_group_rows=10), **arguments)
        memory = Loader(FORMS[form](table), schema=make_schema(), **arguments)
        assert (len(memory), memory.num_rows, memory.pool_rows) == (len(files), files.num_rows, files.pool_rows)
        for _ in range(2):  # epochs
            for one, other in zip(memory, files, strict=True):
                assert_equal(one, other)
        assert repr(memory).splitlines()[1:] == repr(files).splitlines()[1:]


def test_row_groups_are_those_that_to_parquet_writes(tmp_path):
    """By default, and so a shuffle of several row groups is the same."""
    rows = 300_000
    frame = pl.DataFrame({"x": np.arange(rows, dtype="float64"), "y": np.arange(rows) % 2})
    workflow = etl.Workflow((["x"] >> etl.Normalize()) + (["y"] >> etl.Target())).fit(frame)
    dataset = workflow.transform(frame)
    dataset.to_parquet(tmp_path / "data")
    files = Loader(tmp_path / "data", shuffle=True, pool_rows=140_000)
    memory = Loader(dataset, shuffle=True, pool_rows=140_000)
    assert memory.schema == files.schema
    for one, other in zip(memory, files, strict=True):
        assert_equal(one, other)


def test_views_state_and_frameworks(small_row_groups, tmp_path):
    table = make_table(ROWS)
    arguments = {"batch_size": 32, "shuffle": True, "lists": "padded", "pool_rows": 50}
    files = Loader(write(tmp_path, table, row_group_rows=10), **arguments)
    memory = Loader(table, schema=make_schema(), **arguments)

    def double(features, target):
        return {"age": 2 * features["age"]}, target

    assert_equal(memory.peek(), files.peek())
    views = (
        lambda loader: loader.take(3),
        lambda loader: loader.map(double),
        lambda loader: loader.tensorflow(),
        lambda loader: loader.get_tf_dataset(),
    )
    for view in views:
        for one, other in zip(view(memory), view(files), strict=True):
            assert_equal(one, other)
    memory.epoch = 0
    passes = iter(memory)
    batches = [next(passes) for _ in range(4)]
    state = json.loads(json.dumps(memory.state()))
    passes.close()
    rest = Loader(FORMS["pandas"](table), schema=make_schema(), **arguments)
    with pytest.raises(ValueError, match="the state is of a loader with data="):
        files.restore(state)
    rest.restore(state)
    memory.epoch = 0
    assert_equal(batches + list(rest), list(memory))
    assert not threads()


def test_a_state_of_other_values_is_refused():
    table = make_table(ROWS)
    loader = Loader(table, schema=make_schema(), batch_size=32)
    next(iter(loader))
    state = loader.state()
    Loader(make_table(ROWS), schema=make_schema(), batch_size=32).restore(state)
    other = change("age", broken("age", 299, 0.125), pa.float32())
    with pytest.raises(ValueError, match="the state is of a loader with data="):
        Loader(other, schema=make_schema(), batch_size=32).restore(state)


def test_fingerprints_are_of_the_values():
    def fingerprints(data):
        return Loader(data, schema=make_schema()).fingerprints

    table = make_table(ROWS)
    expected = fingerprints(table)
    assert list(expected) == ["the table"]
    assert expected["the table"].startswith("300 rows (")
    for form in ("polars", "pandas", "dicts", "in pieces"):
        assert set(fingerprints(FORMS[form](table)).values()) == set(expected.values())
    for name, row, value in (("age", 0, 0.5), ("tags", 299, [1]), ("clicked", 150, 0.25)):
        assert fingerprints(change(name, broken(name, row, value), table[name].type)) != expected


BAD_VALUES = [
    ("user", 250, -1, r"row 250: column 'user': id -1 is out of range \[0, 50\)"),
    ("user", 0, 50, r"row 0: column 'user': id 50 is out of range \[0, 50\)"),
    ("user", 299, None, "row 299: column 'user' has 1 null; fill them first"),
    ("age", 17, float("nan"), "row 17: column 'age' contains NaN; fill it first"),
    ("tags", 250, [5, -7], "row 250: column 'tags': id -7 is out of range"),
    ("tags", 11, [5, None], "row 11: column 'tags' has 1 null; fill them first"),
    ("tags", 12, [1, 2, 3, 4, 5], "row 12: list column 'tags' has a row of 5 elements, more than"),
    ("clicked", 7, None, "row 7: column 'clicked' has 1 null"),
]


@pytest.mark.parametrize("form", ["arrow", "polars"])
@pytest.mark.parametrize(("name", "row", "value", "message"), BAD_VALUES)
def test_bad_values_are_found_when_the_loader_is_made(small_row_groups, form, name, row, value, message):
    data = FORMS[form](change(name, broken(name, row, value), make_table(1)[name].type))
    with pytest.raises(ValueError, match=f"^the (table|frame), {message}"):
        Loader(data, 64, schema=make_schema(), lists="padded")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            make_table(ROWS).drop(["age"]),
            "the table: no column 'age'; expected one, as in the schema; available: row",
        ),
        (change("user", ["x"] * ROWS, pa.string()), "'user' is string, but int32 in the schema; encode it with"),
        (change("tags", [1] * ROWS, pa.int32()), "'tags' is int32, but list of int32 in the schema"),
        (change("user", [5.5] * ROWS, pa.float64()), "'user' is float64, but int32 in the schema"),
        (change("user", [2**40] * ROWS, pa.int64()), "row 0: column 'user': 1099511627776 cannot be represented"),
        (
            make_table(ROWS).append_column("age", pa.array([1.0] * ROWS)),
            "the table: 2 columns 'age'; expected one",
        ),
    ],
)
def test_data_that_does_not_fit_the_schema(table, message):
    with pytest.raises(ValueError, match=message):
        Loader(table, schema=make_schema())


def test_what_is_no_data():
    frame = pl.from_arrow(make_table(ROWS))
    with pytest.raises(
        SchemaError, match=r"the frame has no schema: pass kr.Loader\(workflow.transform\(frame\)\)"
    ):
        Loader(frame)
    with pytest.raises(ValueError, match="the frame has 0 rows: there is nothing to yield"):
        Loader(frame.head(0), schema=make_schema())
    for data in (make_schema(), 3, [1, 2], np.zeros(3)):
        with pytest.raises(TypeError, match="a loader reads Parquet files .* or dicts; got"):
            Loader(data, schema=make_schema())
    with pytest.raises(ValueError, match="storage_options are for files at addresses"):
        Loader(frame, schema=make_schema(), storage_options={"anon": True})
    with pytest.raises(SchemaError, match="the LazyFrame: .*nope"):
        Loader(frame.lazy().with_columns(pl.col("age") + pl.col("nope")), schema=make_schema())
    objects = frame.with_columns(pl.Series("age", [object()] * ROWS, dtype=pl.Object))
    with pytest.raises(SchemaError, match="column 'age' contains Python objects"):
        Loader(objects, schema=make_schema())


@pytest.mark.parametrize("name", ["user id", "a.b", "größe", "^x$", "*", "x,y", "__row__"])
@pytest.mark.parametrize("form", ["arrow", "polars", "lazy", "pandas", "dicts", "columns"])
def test_odd_names(form, name):
    table = pa.table({"other": [["x"]], name: pa.array([1.5], pa.float32())})
    loader = Loader(FORMS[form](table), schema=Schema([Column(name, "float32", ("continuous",))]))
    assert next(iter(loader))[name].tolist() == [1.5]


def test_a_lazy_frame_reads_only_the_columns_of_the_schema():
    frame = pl.LazyFrame({"x": [1.0, 2.0], "y": [0, 1]})
    frame = frame.with_columns(pl.col("y").map_batches(lambda y: 1 / 0, return_dtype=pl.Int64))
    loader = Loader(frame, schema=Schema([Column("x", "float64", ("continuous",))]))
    assert next(iter(loader))["x"].tolist() == [1.0, 2.0]


def test_without_targets():
    frame = pl.DataFrame({"user": ["a", "b", None], "clicked": [1, 0, 1]})
    workflow = etl.Workflow((["user"] >> etl.Categorify()) + (["clicked"] >> etl.Target())).fit(frame)
    (batch,) = Loader(workflow.transform(frame.drop("clicked"), targets=False))
    assert batch["user"].tolist() == [3, 4, 1]


def test_the_values_are_not_copied():
    """Neither when the loader is made nor in a pass, except for pools."""
    rows, columns = 400_000, 20
    frame = pl.DataFrame({f"c{i}": np.zeros(rows, "float64") for i in range(columns)})
    schema = Schema(Column(name, "float64", ("continuous",)) for name in frame.columns)
    in_bytes = rows * columns * 8
    tracemalloc.start()
    loader = Loader(frame, 1000, schema=schema, pool_rows=20_000)
    assert sum(1 for _ in loader.take(100)) == 100
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 131_072 * columns * 8  # row groups, which are decoded two at a time
    assert peak < in_bytes


def test_default_batch_sizes():
    schema = Schema([Column("x", "float64", ("continuous",))])
    for rows, shuffled, in_order in ((1, 64, 1024), (100_000, 256, 1024), (400_000, 1024, 4096)):
        frame = pl.DataFrame({"x": np.zeros(rows)})
        assert Loader(frame, schema=schema, shuffle=True).batch_size == shuffled
        assert Loader(frame, schema=schema).batch_size == in_order
    of_eight = Loader(frame, schema=schema, shuffle=True, rank=0, ranks=8)
    assert of_eight.batch_size == 128  # for the rows of one rank
    assert "batches of 128" in repr(of_eight)
