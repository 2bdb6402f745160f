"""Integers keep their digits, and a frame's columns go by what they hold, in `transform` as in `serving.rows`."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import kerasrec as kr
from kerasrec import etl
from kerasrec.schema import Column, Schema, SchemaError

BIG = 2**53


def test_decimals_without_a_fraction_are_integers(tmp_path: Path) -> None:
    """As Snowflake and Spark write ids."""
    ids = [BIG, BIG + 1, BIG + 1, None, 2**63 - 1]
    frame = pl.DataFrame(
        {
            "id": pl.Series(ids, dtype=pl.Decimal(38, 0)),
            "few": pl.Series([1, 2, 3, 4, 5], dtype=pl.Decimal(9, 0)),
            "ids": pl.Series([[BIG], [BIG + 1, None], [], None, [BIG]], dtype=pl.List(pl.Decimal(38, 0))),
            "price": pl.Series([1, 2, 3, 4, 5], dtype=pl.Decimal(9, 2)),
        }
    )
    frame.write_parquet(tmp_path / "raw.parquet")
    for source in (frame, tmp_path / "raw.parquet"):
        workflow = etl.Workflow((["id", "ids"] >> etl.Categorify()) + ["few", "price"]).fit(source)
        got = workflow.transform(source).collect()
        assert workflow.vocabulary("id")["value"].to_list() == [None, None, BIG + 1, BIG, 2**63 - 1]
        assert got["id"].to_list() == [4, 3, 3, 1, 5]
        assert got["ids"].to_list() == [[3], [4, 1], [], [], [3]]
        assert (got["few"].dtype, got["few"].to_list()) == (pl.Int64, [1, 2, 3, 4, 5])
        assert got["price"].dtype == pl.Float32
    wire = kr.serving.rows(frame, workflow)
    assert wire["id"].tolist() == [BIG, BIG + 1, BIG + 1, 0, 2**63 - 1]


def test_a_decimal_beyond_int64_is_refused_by_name(tmp_path: Path) -> None:
    frame = pl.DataFrame({"id": pl.Series([Decimal(1), Decimal(2**63)], dtype=pl.Decimal(38, 0))})
    path = tmp_path / "raw.parquet"
    frame.write_parquet(path)
    with pytest.raises(SchemaError, match=rf"^{path}, row 1: column 'id': Decimal\('{2**63}'\) is not a value of"):
        etl.Workflow(["id"] >> etl.Categorify()).fit(path)


@pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt32, pl.Int64, pl.UInt64])
def test_integers_leave_a_workflow_as_they_are(dtype: Any, tmp_path: Path) -> None:
    top = dtype.max()
    values = pl.select(pl.concat_list(top - 1, top).explode()).to_series().to_list()
    frame = pl.DataFrame({"session": pl.Series(values, dtype=dtype), "x": [1, 2], "y": [0, 1]})
    workflow = etl.Workflow(["session"] + (["x"] >> etl.Normalize()) + (["y"] >> etl.Target())).fit(frame)
    workflow.transform(frame).to_parquet(tmp_path / "train")
    written = pl.read_parquet(tmp_path / "train" / "part-00000.parquet")
    assert written.schema == {"session": dtype(), "x": pl.Float32(), "y": pl.Float32()}
    assert written["session"].to_list() == values
    (features, _), *_ = kr.Loader(tmp_path / "train", batch_size=2)
    assert (features["session"].dtype.name, features["session"].tolist()) == (str(dtype()).lower(), values)
    served = workflow.tensorflow(kr.serving.rows(frame, workflow))
    assert served["session"].numpy().tolist() == values


def test_ids_through_groupby_and_join_external_are_integers() -> None:
    big = 2**24 + 1
    events = pl.DataFrame({"user": [1, 1, 2], "item": [big, big + 1, big], "t": [1, 2, 3]})
    likes = pl.DataFrame({"user": [1, 2], "likes": [[big, big + 1], []], "home": [big, big + 1]})
    sessions = ["user", "item", "t"] >> etl.Groupby("user", "t", {"item": ["list", "last"]})
    got = etl.Workflow(sessions).fit_transform(events).collect()
    assert got.to_dict(as_series=False) == {
        "user": [1, 2],
        "item_list": [[big, big + 1], [big]],
        "item_last": [big + 1, big],
    }
    joined = etl.Workflow(["user"] >> etl.JoinExternal(likes, "user"))
    got = joined.fit_transform(events).collect()
    assert got["likes"].to_list() == [[big, big + 1]] * 2 + [[]]
    assert got["home"].to_list() == [big, big, big + 1]
    served = joined.tensorflow(kr.serving.rows([{"user": 2}, {"user": 1}], joined))
    assert served["likes__values"].numpy().tolist() == [big, big + 1]
    assert served["home"].numpy().tolist() == [big + 1, big]
    with pytest.raises(Exception, match="feature 'home' is null after its operators"):
        joined.tensorflow(kr.serving.rows([{"user": 3}], joined))


# ---- by value --------------------------------------------------------------------------------------------
FITTED = pl.DataFrame(
    {"id": pl.Series([1, 2, None], dtype=pl.Int32), "tags": [[1], [], [2]], "city": ["a", "b", None]}
)


def fitted() -> etl.Workflow:
    return etl.Workflow(["id", "tags", "city"] >> etl.Categorify()).fit(FITTED)


@pytest.mark.parametrize(
    "change",
    [
        {"id": [2.0, float("nan"), 1.0]},
        {"id": pl.Series([2, None, 1], dtype=pl.UInt64)},
        {"id": pl.Series([2, None, 1], dtype=pl.Decimal(38, 4))},
        {"tags": pl.Series([[2.0, 1.0], [], None])},
        {"tags": pl.Series([None] * 3, dtype=pl.List(pl.Null))},
        {"tags": pl.Series([None] * 3, dtype=pl.Null)},
        {"city": [float("nan")] * 3},
        {"city": pl.Series([None] * 3, dtype=pl.Null)},
        {"city": pl.Series(["b", None, "a"], dtype=pl.Categorical)},
    ],
)
def test_other_types_of_the_same_values(change: dict[str, Any], tmp_path: Path) -> None:
    workflow = fitted()
    given = FITTED.with_columns(**{name: pl.Series(name, values) for name, values in change.items()})
    nothing = given["tags"].dtype in (pl.List(pl.Null), pl.Null)
    same = {"id": [2, None, 1], "tags": [[]] * 3 if nothing else [[2, 1], [], []], "city": [None] * 3}
    if given["city"].dtype == pl.Categorical:
        same["city"] = ["b", None, "a"]
    plain = FITTED.with_columns(pl.Series(name, same[name], dtype=FITTED.schema[name]) for name in change)
    expected = workflow.transform(plain).collect()
    given.write_parquet(tmp_path / "raw.parquet")
    for source in (given, given.lazy(), tmp_path / "raw.parquet", given.to_pandas(), given.to_arrow()):
        assert workflow.transform(source).collect().equals(expected)
    wire, same_wire = kr.serving.rows(given, workflow), kr.serving.rows(plain, workflow)
    for name, array in same_wire.items():
        assert (array.dtype, array.tolist()) == (wire[name].dtype, wire[name].tolist())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": [1.0, None, 2.5]}, "row 2: column 'id': 2.5 is not a value of int32"),
        ({"id": pl.Series([1, 2**31, 1])}, "row 1: column 'id': 2147483648 is not a value of int32"),
        ({"tags": pl.Series([[1.0], [], [1.0, 0.5]])}, "row 2: column 'tags': 0.5 is not a value of int64"),
        (
            {"tags": pl.Series([[1.0], [2.0**53], []])},
            "row 1: column 'tags': 9007199254740992.0 is too large a float",
        ),
        ({"city": [None, 3.5, None]}, "row 1: column 'city' is Float64, but the workflow was fitted on string"),
        (
            {"tags": [None, None, "x"]},
            "row 2: column 'tags' is String, but the workflow was fitted on a list of int64",
        ),
    ],
)
def test_values_that_do_not_fit(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    workflow = fitted()
    given = FITTED.with_columns(**{name: pl.Series(name, values) for name, values in change.items()})
    with pytest.raises(SchemaError, match=f"^the frame, {message}"):
        workflow.transform(given)
    path = tmp_path / "raw.parquet"
    given.write_parquet(path)
    with pytest.raises(SchemaError, match=f"^{path}, {message}[^\n]*$"):
        workflow.transform(path).to_parquet(tmp_path / "out")
    with pytest.raises(ValueError, match="column '(id|tags|city)'(, row [12]: .*is| is)"):
        kr.serving.rows(given, workflow)


@given(values=st.lists(st.none() | st.floats() | st.integers(-(2**54), 2**54).map(float), max_size=6))
@example([float(BIG - 1), -float(BIG)])
@settings(max_examples=40, deadline=None)
def test_floats_for_integers(values: list[float | None]) -> None:
    """`transform` and `rows`, of frames and of dicts, take and refuse the same."""
    workflow = etl.Workflow(["id"]).fit(pl.DataFrame({"id": [1, 2]}))
    filling = etl.Workflow(["id"] >> etl.FillMissing(-1)).fit(pl.DataFrame({"id": [1, None]}))
    frame = pl.DataFrame({"id": pl.Series(values, dtype=pl.Float64)})
    known = [None if value is None or np.isnan(value) else value for value in values]
    good = all(value is None or (abs(value) < BIG and value.is_integer()) for value in known)
    if not good:
        for takes in (filling.transform, lambda rows: kr.serving.rows(rows, filling)):
            with pytest.raises(ValueError, match="column 'id'"):
                takes(frame)
        with pytest.raises(ValueError, match="column 'id'"):
            kr.serving.rows(frame.to_dicts(), filling)
        return
    expected = [-1 if value is None else int(value) for value in known]
    assert filling.transform(frame).collect()["id"].to_list() == expected
    made = filling.tensorflow(kr.serving.rows(frame, filling))
    assert made["id"].numpy().tolist() == expected
    if None not in known:
        assert workflow.transform(frame).collect()["id"].to_list() == expected


def test_values_of_python_and_pandas() -> None:
    schema = Schema(
        [Column("id", "int64", nullable=True), Column("x", "float64"), Column("s", "string", nullable=True)]
    )
    rows = [{"id": Decimal(BIG + 1), "x": Decimal("1.5"), "s": pd.NA}, {"id": pd.NA, "x": 1, "s": pd.NaT}]
    wire = kr.serving.rows(rows, schema)
    assert wire["id"].tolist() == [BIG + 1, 0]
    assert wire["id__valid"].tolist() == [True, False]
    assert wire["s__valid"].tolist() == [False, False]
    with pytest.raises(ValueError, match=r"column 'id', row 0: Decimal\('1.5'\) is not a value of int64"):
        kr.serving.rows([{"id": Decimal("1.5"), "x": 1}], schema)
    with pytest.raises(ValueError, match="column 'id', row 0: 9007199254740992.0 is too large a float"):
        kr.serving.rows([{"id": 2.0**53, "x": 1}], schema)


def test_fitted_rows_are_known_by_their_values() -> None:
    """So that none sees its own target, whatever types they come in."""
    frame = pl.DataFrame({"user": [1, 2, None, 1] * 5, "y": [0, 1, 1, 1] * 5})
    workflow = etl.Workflow(["user"] >> etl.TargetEncoding("y")).fit(frame)
    expected = workflow.transform(frame, fitted=True).collect()
    assert not workflow.transform(frame, fitted=False).collect().equals(expected)
    for dtype in (pl.Float64, pl.Decimal(38, 0), pl.Int8):
        given = frame.with_columns(pl.col("user").cast(dtype))
        assert workflow.transform(given).collect().equals(expected)
    assert workflow.transform(frame.to_pandas()).collect().equals(expected)


def test_times_in_decimals_split() -> None:
    times = pl.Series([5, 1, BIG, BIG + 1], dtype=pl.Decimal(38, 0))
    frame = pl.DataFrame({"t": times, "u": [1, 1, 1, 1]})
    early, late = etl.SplitByTime("t", at=[BIG + 1])(frame)
    assert late.lazy().collect()["t"].to_list() == [BIG + 1]
    *_, last = etl.SplitLeaveOneOut("u", "t")(frame)
    assert last.lazy().collect()["t"].to_list() == [BIG + 1]
    assert len(early.lazy().collect()) == 3
