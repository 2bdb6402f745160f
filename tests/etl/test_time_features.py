"""TimeFeatures against pandas' calendar; dates as raw columns, in files and served."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from fitted_tables import ELEMENTS, run_both
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kerasrec import etl
from kerasrec.schema import SchemaError, Tag

MOMENTS = st.datetimes(datetime(1678, 1, 1), datetime(2261, 12, 31))  # what pandas' nanoseconds reach
ALL = ["hour", "weekday", "is_weekend", "day", "month"]
SIZES = {"hour": 24, "weekday": 7, "is_weekend": 2, "day": 31, "month": 12}


def pandas(values: list[datetime | None]) -> dict[str, Any]:
    """The features as pandas tells them, NaN for null."""
    times = pd.Series(pd.to_datetime(pd.Series(values, dtype="object"))).astype("datetime64[ns]").dt
    weekend = times.dayofweek.where(times.dayofweek.isna(), times.dayofweek >= 5)
    told = {"hour": times.hour, "weekday": times.dayofweek, "day": times.day, "month": times.month}
    return {name: value.astype("float64").to_numpy() for name, value in {**told, "is_weekend": weekend}.items()}


@given(values=st.lists(st.none() | MOMENTS, max_size=8))
@example(values=[datetime(2000, 2, 29, 23, 59, 59), datetime(1900, 3, 1), datetime(1969, 12, 31, 23), None])
@settings(max_examples=25, deadline=None)
def test_numbers_and_ids_are_pandas(values: list[datetime | None]) -> None:
    seen, rows = [(datetime(2020, 1, 1),), (None,)], [(value,) for value in values]
    expected = pandas(values)
    workflow, polars, tensors = run_both(["t"] >> etl.TimeFeatures(), ["t"], ["datetime"], seen, rows)
    assert polars.columns == [f"t_{feature}" for feature in ALL]
    for feature in ALL:
        first = 1 if feature in ("day", "month") else 0
        ids = [1 if v != v else int(v) - first + 3 for v in expected[feature]]
        assert polars[f"t_{feature}"].to_list() == tensors[f"t_{feature}"].tolist() == ids
        column = workflow.output_schema[f"t_{feature}"]
        assert (column.cardinality, column.table) == (3 + SIZES[feature], f"t_{feature}")
    numbers = ["t"] >> etl.TimeFeatures(encode="number") >> etl.FillMissing(-1)
    _, polars, tensors = run_both(numbers, ["t"], ["datetime"], seen, rows)
    for feature in ALL:
        known = np.nan_to_num(expected[feature], nan=-1)
        assert polars[f"t_{feature}"].to_list() == tensors[f"t_{feature}"].tolist() == known.tolist()


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_integers_of_any_size_in_both_implementations(unit: str, data: Any) -> None:
    numbers = data.draw(st.lists(ELEMENTS["int64"], max_size=6))
    seen, rows = [(0,), (1,)], [(number,) for number in numbers]
    for encode in ("ids", "number"):
        op = etl.TimeFeatures(encode=encode, unit=unit)
        _, polars, tensors = run_both(["t"] >> op, ["t"], ["int64"], seen, rows)
        for name in polars.columns:
            assert polars[name].to_list() == tensors[name].tolist()


@given(values=st.lists(MOMENTS, max_size=6))
@settings(max_examples=10, deadline=None)
def test_units_mean_the_same_moments(values: list[datetime]) -> None:
    seconds = [(value - datetime(1970, 1, 1)) // timedelta(seconds=1) for value in values]
    columns: dict[str, Any] = {"at": pl.Series(values, dtype=pl.Datetime("us"))}
    for unit, times in {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}.items():
        columns[unit] = pl.Series([second * times for second in seconds], dtype=pl.Int64)
    frame = pl.DataFrame(columns)
    start = pl.DataFrame({name: pl.Series([0]).cast(column.dtype) for name, column in columns.items()})
    root = ["at"] >> etl.TimeFeatures("hour")
    for unit in ("s", "ms", "us", "ns"):
        root = root + ([unit] >> etl.TimeFeatures("hour", unit=unit))
    rows = etl.Workflow(root).fit(start).transform(frame).collect()
    assert all(rows[name].to_list() == rows["at_hour"].to_list() for name in rows.columns)


def test_cyclic() -> None:
    hours = [datetime(2024, 3, 4, hour) for hour in range(24)]
    op = etl.TimeFeatures(["hour", "is_weekend", "month"], encode="cyclic")
    rows = [(hour,) for hour in hours]
    workflow, polars, tensors = run_both(["t"] >> op, ["t"], ["datetime"], rows, rows)
    assert polars.columns == ["t_hour_sin", "t_hour_cos", "t_is_weekend", "t_month_sin", "t_month_cos"]
    angles = np.arange(24) * 2 * np.pi / 24
    np.testing.assert_allclose(polars["t_hour_sin"], np.sin(angles), atol=1e-7)
    np.testing.assert_allclose(polars["t_hour_cos"], np.cos(angles), atol=1e-7)
    np.testing.assert_allclose(polars["t_month_sin"], math.sin(2 * math.pi * 3 / 12), atol=1e-7)
    assert polars["t_is_weekend"].sum() == 0
    for name in polars.columns:
        np.testing.assert_allclose(tensors[name], polars[name].to_numpy(), atol=1e-7)
    assert all(column.tags == (Tag.CONTINUOUS,) for column in workflow.output_schema)


# ---- dates as raw columns ------------------------------------------------------------------------
FRAME = pl.DataFrame(
    {
        "t": [datetime(2024, 2, 29, 23, 30), None, datetime(1969, 12, 31, 1)],
        "d": [date(2024, 3, 2), date(2024, 3, 3), date(2024, 3, 4)],
        "z": pl.Series([datetime(2024, 1, 1, 0, 30)] * 3).dt.replace_time_zone("Europe/Berlin"),
        "l": [[datetime(2024, 1, 1, 5), None], [], None],
        "n": [1, 2, 3],
    }
)


def make() -> etl.Workflow:
    hours = ["t", "z", "l"] >> etl.TimeFeatures("hour")
    later = ["t", "d"] >> etl.LambdaOp(lambda t, d: (d - t).dt.total_days(), name="days") >> etl.FillMissing(0)
    return etl.Workflow(hours + (["d"] >> etl.TimeFeatures(["weekday", "is_weekend"])) + later)


@pytest.mark.parametrize("kind", ["parquet", "lazy", "pandas"])
def test_dates_in_files(kind: str, tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "x.parquet")
    source = {"parquet": tmp_path / "x.parquet", "lazy": FRAME.lazy(), "pandas": FRAME.to_pandas()}[kind]
    workflow = make().fit(source)
    rows = workflow.transform(source).collect()
    assert rows["t_hour"].to_list() == [26, 1, 4]
    assert rows["d_weekday"].to_list() == [8, 9, 3]
    assert rows["d_is_weekend"].to_list() == [4, 4, 3]
    assert rows["z_hour"].to_list() == [26, 26, 26]  # 23:30 of the day before in UTC
    assert rows["l_hour"].to_list() == [[8, 1], [], []]
    assert rows["days"].to_list() == [1, 0, 19786]
    assert workflow.input_schema["t"].dtype == "datetime"
    assert workflow.transform(FRAME.head(0)).collect().is_empty()


def test_dates_are_saved_and_served(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    import kerasrec as kr

    hours = ["t", "z", "l", "d"] >> etl.TimeFeatures(["hour", "day"])
    workflow = etl.Workflow(hours).fit(FRAME)
    workflow.save(tmp_path / "w")
    again = etl.Workflow.load(tmp_path / "w")
    expected = workflow.transform(FRAME).collect()
    assert again.transform(FRAME).collect().equals(expected)
    assert again.raw_signature()["t"] == ("int64", (None,))
    rows = FRAME.to_dicts()
    rows[2]["z"] = datetime(2023, 12, 31, 23, 30, tzinfo=UTC).astimezone(timezone(timedelta(hours=9)))
    for raw in (FRAME, rows, FRAME.to_pandas()):
        made = again.tensorflow(kr.serving.rows(raw, again))
        for name in ("t_hour", "t_day", "z_hour", "z_day", "d_day"):
            assert made[name].numpy().tolist() == expected[name].to_list()
        assert made["l_hour__values"].numpy().tolist() == [8, 1]
    with pytest.raises(ValueError, match="column 'd', row 0: 'today' is not a value of datetime"):
        kr.serving.rows([{**FRAME.row(0, named=True), "d": "today"}], again)


def test_what_is_refused() -> None:
    for wrong, message in [
        ({"features": ["hour", "era"]}, r"features must be of hour, .*; got \['era'\]"),
        ({"features": []}, "features must be of"),
        ({"encode": "onehot"}, "encode must be one of ids, cyclic, number; got 'onehot'"),
        ({"unit": "h"}, "unit must be one of s, ms, us, ns; got 'h'"),
    ]:
        with pytest.raises(ValueError, match=message):
            etl.TimeFeatures(**wrong)
    words = pl.DataFrame({"t": ["2024-01-01"]})
    for names, op, source, message in [
        (["n"], etl.TimeFeatures(), FRAME, "'n' is int64: pass TimeFeatures.unit"),
        (["t"], etl.TimeFeatures(), words, "'t' is string: TimeFeatures takes dates, times and integers"),
        (["t"], etl.Categorify(), FRAME, "'t' is datetime: Categorify takes .*; use TimeFeatures"),
        (
            ["t"],
            etl.Normalize(),
            FRAME,
            "'t' is datetime; Normalize takes numbers: TimeFeatures makes numbers of dates",
        ),
        (["t"], etl.FillMissing(0), FRAME, r"'t' is datetime, and FillMissing\(0\) is not a value of that type"),
        (["d"], etl.Rename("e"), FRAME, "'e' is still datetime after its operators; use TimeFeatures"),
    ]:
        with pytest.raises(SchemaError, match=message):
            etl.Workflow(names >> op).fit(source)
    workflow = etl.Workflow(["d"] >> etl.TimeFeatures()).fit(FRAME)
    with pytest.raises(SchemaError, match="column 'd' is Int64, but the workflow was fitted on datetime"):
        workflow.transform(FRAME.with_columns(d=pl.lit(3, pl.Int64))).collect()
    parsed = etl.LambdaOp(lambda x: x.str.to_datetime("%Y-%m-%d"))
    assert etl.Workflow(["t"] >> parsed >> etl.TimeFeatures("month")).fit_transform(words).collect().item() == 3
