"""Files of one dataset whose types differ, but not what they hold, are read as one; others are refused by name."""

import datetime as dt
import itertools
from decimal import Decimal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec import etl
from kerasrec.etl.sources.scan import scan
from kerasrec.schema import SchemaError

INTEGERS = [*(getattr(pa, f"{sign}int{bits}")() for sign in ("", "u") for bits in (8, 16, 32, 64))]
LISTS = [pa.list_, pa.large_list, pa.list_view, pa.large_list_view, lambda kind: pa.list_(kind, 2)]
STRINGS = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.dictionary(pa.int8(), pa.string()),
    pa.dictionary(pa.int32(), pa.large_string()),
]


def written(folder, *columns, name="x", store_schema=True):
    """A file per column; a table is a file as it is."""
    for number, column in enumerate(columns):
        table = column if isinstance(column, pa.Table) else pa.table({name: column})
        pq.write_table(table, folder / f"part-{number:03d}.parquet", store_schema=store_schema)
    return folder


def values(folder, name="x"):
    return scan(folder).select([name]).frame.select(name).collect(engine="streaming")[name]


# ---- numbers -------------------------------------------------------------------------------------
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_integers_and_floats_of_any_width(tmp_path_factory, data):
    """All numbers stay what they are to Python; or are refused where no type of Polars' holds all of them."""
    kinds = st.sampled_from([*INTEGERS, pa.float32(), pa.float64(), pa.decimal128(38, 0), pa.null()])
    columns, numbers = [], []
    for kind in data.draw(st.lists(kinds, min_size=1, max_size=4)):
        few = st.integers(-100 if "u" not in str(kind) else 0, 100)
        if pa.types.is_null(kind):
            few = st.none()
        elif pa.types.is_floating(kind):
            few = st.one_of(few.map(float), st.floats(width=kind.bit_width), st.none())
        elif pa.types.is_integer(kind):
            high = 2 ** (kind.bit_width - pa.types.is_signed_integer(kind)) - 1
            few = st.one_of(few, st.integers(-high if pa.types.is_signed_integer(kind) else 0, high), st.none())
        rows = data.draw(st.lists(few, max_size=4))
        decimals = pa.types.is_decimal(kind)
        columns.append(pa.array([Decimal(row) if decimals else row for row in rows], kind))
        numbers += rows
    folder = written(tmp_path_factory.mktemp("x"), *columns)
    numbers = [None if x is None or x != x else x for x in numbers]
    integers = [x for x in numbers if isinstance(x, int)]
    fractions = [x for x in numbers if isinstance(x, float) and (abs(x) >= 2**53 or x != int(x))]
    mixed = bool(fractions) and max(map(abs, integers), default=0) > 2**53
    if (max(integers, default=0) >= 2**63 and min(integers) < 0) or mixed:
        with pytest.raises(SchemaError, match=r"part-00.\.parquet: column 'x' is .*, but .* in .*part-00"):
            values(folder)
    else:
        assert [None if x is None or x != x else x for x in values(folder).to_list()] == numbers


def test_whole_floats_are_integers_again(tmp_path):
    """pandas writes a column of integers with a null as floats; ids beyond 2**53 in the other file stay exact."""
    large = 2**53 + 1
    written(tmp_path, pa.array([1, large]), pa.array([2.0, float("nan"), None]))
    assert values(tmp_path).to_list() == [1, large, 2, None, None]
    workflow = etl.Workflow(["x"] >> etl.Categorify()).fit(tmp_path)
    assert workflow.transform(tmp_path).collect()["x"].to_list() == [3, 5, 4, 1, 1]


def test_integers_that_no_float_holds(tmp_path):
    written(tmp_path, pa.array([1, 2**53 + 1]), pa.array([0.5]))
    message = r"part-001\.parquet: column 'x' is Float64, but Int64 in .*part-000\.parquet; neither type holds all"
    with pytest.raises(SchemaError, match=message):
        etl.Workflow(["x"]).fit(tmp_path)
    written(tmp_path, pa.array([2**63], pa.uint64()), pa.array([-1]))
    with pytest.raises(SchemaError, match=r"part-001\.parquet: column 'x' is Int64, but UInt64 in .*part-000"):
        etl.Workflow(["x"]).fit(tmp_path)


def test_decimals_of_any_precision(tmp_path):
    columns = [
        pa.array([Decimal("1.25"), None], pa.decimal128(10, 2)),
        pa.array([Decimal("3.125")], pa.decimal128(20, 3)),
        pa.array([Decimal("7")], pa.decimal128(38, 0)),
        pa.array([Decimal("8.5")], pa.decimal256(40, 1)),
    ]
    assert values(written(tmp_path, *columns)).cast(pl.Float64).to_list() == [1.25, None, 3.125, 7, 8.5]


def test_booleans_beside_0_and_1(tmp_path):
    assert values(written(tmp_path, pa.array([True, None]), pa.array([0, 1], pa.int8()))).to_list() == [
        1,
        None,
        0,
        1,
    ]


# ---- strings, lists, moments -----------------------------------------------------------------------
@pytest.mark.parametrize("store_schema", [True, False])
def test_strings_of_any_kind(tmp_path, store_schema):
    columns = [pa.array([f"{number}", None], pa.string()).cast(kind) for number, kind in enumerate(STRINGS)]
    columns.insert(2, pa.nulls(2))
    written(tmp_path, *columns, store_schema=store_schema)
    pl.DataFrame({"x": pl.Series(["e"], dtype=pl.Enum(["e", "f"]))}).write_parquet(tmp_path / "y.parquet")
    pl.DataFrame({"x": pl.Series(["c"], dtype=pl.Categorical)}).write_parquet(tmp_path / "z.parquet")
    expected = ["0", None, "1", None, None, None, "2", None, "3", None, "4", None, "e", "c"]
    assert values(tmp_path).to_list() == expected
    workflow = etl.Workflow(["x"] >> etl.Categorify()).fit(tmp_path)
    counted = workflow.vocabulary("x").filter(pl.col("id") > 2)["value"]
    assert sorted(counted.to_list()) == sorted(x for x in expected if x)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(LISTS), st.sampled_from([pa.int32(), pa.int64(), pa.float32()]))))
def test_lists_of_any_kind(tmp_path_factory, kinds):
    rows = [[1, 2], None, [3, 4]]
    columns = [pa.array(rows, pa.list_(element)) for _, element in kinds]
    columns = [_spelled(column, make(element)) for column, (make, element) in zip(columns, kinds, strict=True)]
    columns += [pa.nulls(1), pa.array([[], [None]], pa.list_(pa.null())), pa.array([[7]])]
    folder = written(tmp_path_factory.mktemp("x"), *columns)
    found = values(folder).to_list()
    assert found == rows * len(kinds) + [None, [], [None], [7]]


def _spelled(column, kind):
    return pa.array(column.to_pylist(), kind)


def test_moments_of_any_unit_and_zone(tmp_path):
    moment = dt.datetime(2024, 3, 1, 12, 30)
    zones = ["UTC", "+05:30", "-03:30", "+05:45", "UTC+5:30", "Asia/Kolkata", "+02:00", "nowhere"]
    columns = [
        pa.array([moment, None], pa.timestamp(unit, zone))
        for unit, zone in zip(itertools.cycle(["us", "ns", "ms", "s"]), zones, strict=False)
    ]
    written(tmp_path, *columns)
    assert [x and x.replace(tzinfo=None) for x in values(tmp_path).to_list()] == [moment, None] * len(zones)
    assert scan(tmp_path).column("x").dtype == "datetime"
    some, there = [pa.array([moment], pa.timestamp("us", zone)) for zone in (None, "+05:30")], tmp_path / "two"
    there.mkdir()
    written(there, *some)
    with pytest.raises(
        SchemaError, match=r"part-001\.parquet: column 'x' is Datetime.*, but Datetime.* in .*part-000"
    ):
        values(there)


# ---- columns that are not read, files without rows -------------------------------------------------
def test_what_is_not_read_is_not_looked_at(tmp_path):
    x, y = pa.array([1, 2]), pa.array([3, 4])
    tables = [
        pa.table({"x": x, "y": y}),
        pa.table({"y": pa.array(["a", "b"]), "more": y, "x": x}),
        pa.Table.from_arrays([y, y, x], names=["y", "y", "x"]),
        pa.table({"y": pa.array([{"x": 7}, {"x": 8}]), "x": x}),
        pa.table({"y": pa.array([1, 2], pa.timestamp("us", "+05:30")), "x": x}),
        pa.table({"y": pa.array([[1], None], pa.list_view(pa.int8())), "x": x}),
        pa.table({"y": pa.array([b"a", None]), "x": x}),
        pa.table({"y": pa.array([Decimal(1), None], pa.decimal256(60, 0)), "x": x}),
        pa.table({"nothing": pa.array([], pa.string())}),
    ]
    for order in (tables, tables[::-1]):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        written(folder, *order)
        workflow = etl.Workflow(["x"])
        assert workflow.fit_transform(folder).collect()["x"].to_list() == [1, 2] * 8
        assert workflow.transform(folder).to_parquet(folder / "out").exists()
        train, _ = etl.SplitByTime("x", at=[2])(folder)
        assert workflow.transform(train).collect()["x"].to_list() == [1] * 8
    with pytest.raises(SchemaError, match=r"column 'y' is String, but Int64 in .*part-000"):
        etl.Workflow(["y"]).fit([tmp_path / "0" / "part-000.parquet", tmp_path / "0" / "part-001.parquet"])
    with pytest.raises(SchemaError, match=r"part-002\.parquet: 2 columns are named 'y'"):
        etl.Workflow(["y"]).fit(tmp_path / "0" / "part-002.parquet")
    with pytest.raises(
        SchemaError, match=r"part-003\.parquet: column 'y' is of type struct<x: int64>; kerasrec reads"
    ):
        etl.Workflow(["y"]).fit(tmp_path / "0" / "part-003.parquet")


def test_files_without_rows_have_no_say(tmp_path):
    """pandas writes an empty frame's columns as nulls or floats."""
    nothing = [pa.array([], kind) for kind in (pa.null(), pa.float64(), pa.string(), pa.list_(pa.int8()))]
    written(tmp_path, *nothing, pa.array([1, 2**60]), *nothing)
    workflow = etl.Workflow(["x"] >> etl.Categorify())
    assert workflow.fit_transform(tmp_path).collect()["x"].to_list() == [3, 4]
    (tmp_path / "part-004.parquet").unlink()
    assert workflow.transform(tmp_path).collect()["x"].to_list() == []
    with pytest.raises(SchemaError, match="there are no rows to fit on"):
        etl.Workflow(["x"] >> etl.Categorify()).fit(tmp_path / "part-001.parquet")


def test_rows_keep_their_numbers_over_files_that_differ(tmp_path):
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 100, 50)
    kinds = itertools.cycle(
        [pa.int8(), pa.int64(), pa.int64(), pa.float64(), pa.dictionary(pa.int8(), pa.int64())]
    )
    columns = [_spelled(pa.array(part), kind) for part, kind in zip(np.split(numbers, 10), kinds, strict=False)]
    written(tmp_path, *columns, pa.array([None], pa.int64()))
    source = scan(tmp_path).select(["x"])
    found = pl.concat([part.lazy().collect() for part in source.parts(2)])
    assert found["x"].to_list() == [*numbers.tolist(), None]
    assert found["__row__"].to_list() == list(range(51))
    with pytest.raises(SchemaError, match=r"part-010\.parquet, row 0: column 'x' is null"):
        etl.Workflow(["x"]).fit(numbers_frame(numbers)).transform(tmp_path).collect()


def numbers_frame(numbers):
    return pl.DataFrame({"x": numbers})
