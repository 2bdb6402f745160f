"""What pandas, Spark, Arrow and Polars write, with all their peculiarities, is read right or refused by name."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kerasrec import etl, serving
from kerasrec.etl.sources.scan import scan
from kerasrec.schema import SchemaError

ZONES = ["+05:30", "-03:30", "+05:45", "+14:00", "Asia/Kolkata", "UTC", "US/Pacific"]


# ---- moments -------------------------------------------------------------------------------------
def test_moments_of_spark_beyond_2262(tmp_path):
    """Spark's end of time is 9999-12-31, in 96 bits, of which Polars makes 2262 or 1816."""
    moments = [dt.datetime(9999, 12, 31, 23, 59, 59), dt.datetime(2024, 5, 6, 7), dt.datetime(1, 1, 1), None]
    table = pa.table({"at": pa.array(moments, pa.timestamp("us")), "x": [1, 2, 3, 4]})
    for store_schema in (False, True):
        path = tmp_path / f"{store_schema}.parquet"
        pq.write_table(table, path, use_deprecated_int96_timestamps=True, store_schema=store_schema)
        assert scan(path).select(["at"]).frame.select("at").collect()["at"].to_list() == moments
        train, test = etl.SplitByTime("at", at=["3000-01-01"])(_without_null(tmp_path, path))
        assert etl.Workflow(["x"]).fit_transform(train).collect()["x"].to_list() == [2, 3]
        assert etl.Workflow(["x"]).fit_transform(test).collect()["x"].to_list() == [1]


def _without_null(folder, path):
    table = pq.read_table(path, coerce_int96_timestamp_unit="us").slice(0, 3)
    pq.write_table(table, folder / "some.parquet", use_deprecated_int96_timestamps=True, store_schema=False)
    return folder / "some.parquet"


@pytest.mark.parametrize("zone", ZONES)
def test_zones_of_any_offset(tmp_path, zone):
    at = (
        pd.Series(pd.to_datetime(["2024-03-01 22:00", "2024-07-01 01:30"]))
        .dt.tz_localize("UTC")
        .dt.tz_convert(zone)
    )
    frame = pd.DataFrame({"at": at, "x": [1, 2]})
    frame.to_parquet(tmp_path / "a.parquet")
    table = pa.Table.from_pandas(frame)
    for source in (tmp_path / "a.parquet", frame, table):
        assert etl.Workflow(["x"]).fit_transform(source).collect()["x"].to_list() == [1, 2]
        found = scan(source).select(["at"]).frame.collect()["at"].cast(pl.Datetime("us")).to_list()
        assert found == [dt.datetime(2024, 3, 1, 22), dt.datetime(2024, 7, 1, 1, 30)]
    workflow = etl.Workflow(["at"] >> etl.TimeFeatures())
    expected = workflow.fit_transform(frame).collect()
    assert workflow.transform(tmp_path / "a.parquet").collect().equals(expected)
    wire = serving.rows(frame, workflow)["at"]
    assert wire.tolist() == [int(x.timestamp()) * 1_000_000 for x in at]
    assert serving.rows(table, workflow)["at"].tolist() == wire.tolist()


def test_cuts_in_a_zone_that_is_an_offset(tmp_path):
    """Midnight there is not midnight in UTC."""
    at = pa.array([dt.datetime(2024, 3, 1, hour) for hour in (17, 19)], pa.timestamp("us", "+05:30"))
    pq.write_table(pa.table({"at": at, "x": [1, 2]}), tmp_path / "a.parquet")
    _, test = etl.SplitByTime("at", at=["2024-03-02T00:00+05:30"])(tmp_path / "a.parquet")
    assert etl.Workflow(["x"]).fit_transform(test).collect()["x"].to_list() == [2]
    with pytest.raises(ValueError, match="it has no time zone, and that of the column is an offset"):
        etl.SplitByTime("at", at=["2024-03-02"])(tmp_path / "a.parquet")


def test_moments_that_polars_cut_off(tmp_path):
    """A LazyFrame of such a file has its last nanosecond for what is later."""
    table = pa.table({"at": pa.array([dt.datetime(9999, 12, 31), None], pa.timestamp("us")), "x": [1, 2]})
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True, store_schema=False)
    frame = pl.scan_parquet(tmp_path / "a.parquet")
    if frame.collect()["at"][0].year != 2262:
        pytest.skip("this Polars reads other moments, which nothing tells")
    assert etl.Workflow(["x"]).fit_transform(frame).collect()["x"].to_list() == [1, 2]
    with pytest.raises(
        SchemaError, match="the LazyFrame: column 'at' holds 2262-04-11 .* pass the paths of the files"
    ):
        etl.Workflow(["at"] >> etl.TimeFeatures()).fit(frame)


def test_a_panic_is_one_error(tmp_path):
    pq.write_table(pa.table({"at": pa.array([0], pa.timestamp("us", "+05:30"))}), tmp_path / "a.parquet")
    with pytest.raises(SchemaError, match="the LazyFrame: .*unable to parse time zone"):
        etl.Workflow(["at"]).fit(pl.scan_parquet(tmp_path / "a.parquet"))


# ---- pandas --------------------------------------------------------------------------------------
def test_mixed_columns_of_pandas():
    frame = pd.DataFrame({"x": [1, 2, 3], "mixed": [1, "a", 2.5], "also": [[1], 2, None]})
    assert etl.Workflow(["x"]).fit_transform(frame).collect()["x"].to_list() == [1, 2, 3]
    for name in ("mixed", "also"):
        with pytest.raises(
            SchemaError, match=f"the frame: column '{name}' cannot be read: .*; convert it to one type"
        ):
            etl.Workflow([name]).fit(frame)
        workflow = etl.Workflow([name]).fit(frame[["x"]].rename(columns={"x": name}))
        with pytest.raises(SchemaError, match=f"column '{name}' cannot be read"):
            workflow.transform(frame)


def test_types_of_pandas():
    frame = pd.DataFrame(
        {
            "category": pd.Categorical(["b", "a", None]),
            "codes": pd.Categorical([20, 10, 20]),
            "Int64": pd.array([1, None, 3], "Int64"),
            "boolean": pd.array([True, None, False], "boolean"),
            "string": pd.array(["x", None, "y"], "string"),
            "arrow": pd.array(["x", None, "y"], pd.ArrowDtype(pa.string_view())),
            "object": np.array(["x", None, float("nan")], dtype=object),
            "decimal": [Decimal("1.5"), None, Decimal("2")],
            "date": [dt.date(2024, 1, 1), None, dt.date(2024, 1, 2)],
            "lists": [np.array([1, 2]), None, [3]],
            "nothing": [None, None, None],
            "sparse": pd.arrays.SparseArray([0, 0, 5]),
            "period": pd.period_range("2024", periods=3, freq="D"),
            "duration": pd.to_timedelta([1, 2, 3]),
            7: [1, 2, 3],
        },
        index=[5, 6, 7],
    )
    source = scan(frame)
    assert list(source.unreadable()) == ["period", "duration"]
    assert source.unreadable()["duration"].endswith("is of type duration[ns]; cast it to an integer")
    found = source.frame.collect()
    assert found["category"].cast(pl.String).to_list() == ["b", "a", None]
    assert found["codes"].to_list() == [20, 10, 20]
    assert found["Int64"].to_list() == [1, None, 3]
    assert found["boolean"].to_list() == [True, None, False]
    assert found["string"].to_list() == found["arrow"].to_list() == ["x", None, "y"]
    assert found["object"].to_list() == ["x", None, None]
    assert found["decimal"].to_list() == [Decimal("1.5"), None, Decimal("2")]
    assert found["lists"].to_list() == [[1, 2], None, [3]]
    assert found["sparse"].to_list() == [0, 0, 5]
    assert found["7"].to_list() == [1, 2, 3]
    assert source.column("date").dtype == "datetime"


def test_names_that_pandas_and_arrow_hold_twice():
    frame = pd.DataFrame([[1, 2, 3]], columns=["x", "y", "y"])
    for source in (frame, pa.Table.from_arrays([[1], [2], [3]], names=["x", "y", "y"])):
        assert etl.Workflow(["x"]).fit_transform(source).collect()["x"].to_list() == [1]
        with pytest.raises(SchemaError, match="several columns are named 'y'"):
            etl.Workflow(["y"]).fit(source)


# ---- Arrow ---------------------------------------------------------------------------------------
def test_types_of_arrow():
    views = pa.array([[1], None, [2, 3], []], pa.list_view(pa.int64()))
    table = pa.table(
        {
            "view": views,
            "sliced": pa.chunked_array(
                [pa.array([[9], [9], [4, 5], None], views.type).slice(2), views.slice(1, 2)]
            ),
            "zones": pa.array([[dt.datetime(2024, 1, 1)], None, [], []], pa.list_(pa.timestamp("us", "+05:30"))),
            "runs": pa.RunEndEncodedArray.from_arrays(pa.array([1, 4], pa.int32()), pa.array([5, 6])),
            "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(["1", "2", None, "3"])),
            "wide": pa.array([Decimal(7), None, None, None], pa.decimal256(60, 0)),
            "struct": pa.array([{"a": 1}] * 4),
        }
    )
    source = scan(table)
    assert list(source.unreadable()) == ["struct"]
    found = source.frame.collect()
    assert found["view"].to_list() == [[1], None, [2, 3], []]
    assert found["sliced"].to_list() == [[4, 5], None, None, [2, 3]]
    assert [x and [y.replace(tzinfo=None) for y in x] for x in found["zones"].to_list()] == [
        [dt.datetime(2024, 1, 1)],
        None,
        [],
        [],
    ]
    assert found["runs"].to_list() == [5, 6, 6, 6]
    assert found["json"].to_list() == ["1", "2", None, "3"]
    assert found["wide"].to_list() == [Decimal(7), None, None, None]


def test_files_of_spark_and_of_pandas_in_a_folder(tmp_path):
    """What lies beside the data, and pandas' index, are no part of it."""
    frame = pd.DataFrame({"x": [1, 2, 3]}, index=[7, 8, 9]).sort_index(ascending=False)
    frame.to_parquet(tmp_path / "part-00000-c000.snappy.parquet")
    for name in ("_SUCCESS", "_committed_1", ".part-00000-c000.snappy.parquet.crc", "_metadata", ".x.parquet"):
        (tmp_path / name).write_bytes(b"not data")
    assert etl.Workflow(["x"]).fit_transform(tmp_path).collect()["x"].to_list() == [3, 2, 1]


def test_categories_of_other_values_in_each_file(tmp_path):
    """pandas' categories have codes of their own in each file."""
    for number, values in enumerate((["b", "a"], ["c", None, "b"], ["a"])):
        pd.DataFrame({"x": pd.Categorical(values)}).to_parquet(tmp_path / f"{number}.parquet")
    workflow = etl.Workflow(["x"] >> etl.Categorify()).fit(tmp_path)
    assert workflow.vocabulary("x").filter(pl.col("id") > 2).select("value", "count").rows() == [
        ("a", 2),
        ("b", 2),
        ("c", 1),
    ]
