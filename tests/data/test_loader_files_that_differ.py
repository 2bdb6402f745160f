"""Files of one dataset whose types differ, but not what they hold: all are read as the schema says, or refused."""

from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from device_engines import by_numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec.data import Loader
from kerasrec.schema import Column, Hotness, Schema, SchemaError

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


def written(path, dtype, *columns, is_list=False, tags=()):
    """A file per column, named `x`, and a schema that says `dtype`."""
    for number, column in enumerate(columns):
        table = column if isinstance(column, pa.Table) else pa.table({"x": column})
        pq.write_table(table, path / f"part-{number}.parquet", row_group_size=2)
    hotness = Hotness(0, 1.0, 3) if is_list else None
    Schema([Column("x", dtype, ("list", *tags) if is_list else tags, hotness=hotness)]).save(path)
    return path


def values(loader):
    return [batch["x"] for batch in loader]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_type_that_holds_the_values(tmp_path_factory, data):
    """What NumPy holds exactly in the schema's dtype is read, anything else refused naming the value."""
    dtype = data.draw(st.sampled_from([*INTEGERS, "float32", "float64"]))
    kind = data.draw(st.sampled_from(INTEGERS + (["float32", "float64"] if dtype.startswith("f") else [])))
    some = st.floats(width=32) if kind == "float32" else st.floats()
    if kind.startswith(("int", "uint")):
        some = st.integers(int(np.iinfo(kind).min), int(np.iinfo(kind).max))
        some = st.one_of(some, st.integers(0, 100))
    else:
        some = some.filter(lambda x: x == x)
    rows = data.draw(st.lists(some, min_size=1, max_size=5))
    numbers = np.array(rows, kind)
    path = written(tmp_path_factory.mktemp("x"), dtype, pa.array(numbers))
    fits = [_exactly(value, dtype) for value in numbers.tolist()]
    for make in (Loader, partial(by_numpy, wide=False)):
        if all(fits):
            got = next(make(path)._stream.batches()).blocks[dtype][0]
            assert got.dtype == dtype
            np.testing.assert_array_equal(got, numbers.astype(dtype))
        else:
            with pytest.raises(
                ValueError, match=f"part-0.parquet: column 'x': .* cannot be represented exactly in {dtype}"
            ):
                list(make(path)._stream.batches())


def _exactly(value, dtype):
    if dtype.startswith("f"):
        with np.errstate(over="ignore"):
            return float(np.dtype(dtype).type(value)) == value
    return np.iinfo(dtype).min <= value <= np.iinfo(dtype).max


def test_spellings_of_one_type(tmp_path):
    columns = [
        pa.array([1, 2], pa.int64()),
        pa.array([3], pa.int16()).dictionary_encode(),
        pa.array([4, 5], pa.decimal128(38, 0)),
        pa.table({"x": pa.array([6])}, pa.schema([pa.field("x", pa.int64(), nullable=False)])),
    ]
    (got,) = values(Loader(written(tmp_path, "int32", *columns)))
    assert got.tolist() == [1, 2, 3, 4, 5, 6]
    with pytest.raises(ValueError, match=r"column 'x' has 1 null"):
        list(Loader(written(tmp_path, "int32", columns[0], pa.nulls(1))))
    with pytest.raises(SchemaError, match="column 'x' is string, but int32 in the schema"):
        Loader(written(tmp_path, "int32", columns[0], pa.array(["a"]).dictionary_encode()))


@pytest.mark.parametrize("dtype", ["int64", "float32"])
def test_spellings_of_lists(tmp_path, dtype):
    rows = [[1, 2], [3, 4]]
    columns = [
        pa.array(rows, kind(pa.int32()))
        for kind in (pa.list_, pa.large_list, pa.list_view, pa.large_list_view, lambda inner: pa.list_(inner, 2))
    ]
    columns += [pa.nulls(2), pa.array([[], None], pa.list_(pa.null())), pa.array([None, [7]], pa.list_(pa.int8()))]
    (got,) = values(Loader(written(tmp_path, dtype, *columns, is_list=True), lists="offsets"))
    assert got[0].dtype == dtype
    assert got[0].tolist() == [1, 2, 3, 4] * 5 + [7]
    assert np.diff(got[1]).tolist() == [2] * 10 + [0] * 5 + [1]


def test_a_column_that_is_refused_is_no_matter_where_it_is_not_read(tmp_path):
    x, y = pa.array([1, 2]), pa.array([3, 4])
    tables = [
        pa.table({"x": x, "y": y}),
        pa.table({"y": pa.array(["a", "b"]), "more": y, "x": x}),
        pa.Table.from_arrays([y, y, x], names=["y", "y", "x"]),
        pa.table({"y": pa.array([{"x": 7}, {"x": 8}]), "x": x}),
        pa.table({"nothing": pa.array([], pa.string())}),  # no rows: whatever the columns
    ]
    (got,) = values(Loader(written(tmp_path, "int64", *tables)))
    assert got.tolist() == [1, 2] * 4
    with pytest.raises(SchemaError, match=r"part-1\.parquet: column 'y' is string, but"):
        Loader(tmp_path, schema=Schema([Column("y", "int64")]))
    with pytest.raises(SchemaError, match=r"part-2\.parquet: 2 columns 'y'"):
        Loader([tmp_path / "part-0.parquet", tmp_path / "part-2.parquet"], schema=Schema([Column("y", "int64")]))
