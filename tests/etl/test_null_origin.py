"""The error about a null that an operator made names the operator, its inputs and the row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kerasrec import etl
from kerasrec.schema import SchemaError

SEEN = {"a": [0.0, 1.0, 2.0], "b": [1, 2, 3], "k": ["x", "y", "x"]}
TABLE = pl.DataFrame({"k": ["x", "y"], "c": [1.0, 2.0]})


def ratio(a: pl.Expr, b: pl.Expr) -> pl.Expr:
    return pl.when(b > 0).then(a / b)


CASES: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "LogOp": (
        lambda: ["a"] >> etl.FillMissing() >> etl.LogOp(),
        {"a": [0.0, None, -5.5]},
        r"LogOp\(\) makes a null of 'a' = -5.5 \(.*row 2\); put FillMissing after it",
    ),
    "after others": (
        lambda: ["a"] >> etl.FillMissing() >> etl.Clip(min=-9) >> etl.LogOp() >> etl.Normalize(),
        {"a": [0.0, None, -1.0]},
        r"LogOp\(\) makes a null of 'a' = -1.0 \(.*row 2\)",
    ),
    "renamed": (
        lambda: ["a"] >> etl.FillMissing() >> etl.Rename("z") >> etl.LogOp() >> etl.Rename("y"),
        {"a": [0.0, None, -7.0]},
        r"LogOp\(\) makes a null of 'z' = -7.0 \(.*row 2\)",
    ),
    "LambdaOp": (
        lambda: ["a", "b"] >> etl.FillMissing(1) >> etl.LambdaOp(ratio, name="r"),
        {"a": [1.0, 1.0, 3.0], "b": [1, 2, 0]},
        r"LambdaOp\(.*\) makes a null of 'a' = 3.0, 'b' = 0 \(.*row 2\)",
    ),
    "JoinExternal": (
        lambda: (["k"] >> etl.JoinExternal(TABLE, "k"))["c"],
        {"k": ["x", "y", "new"]},
        r"JoinExternal\(.*\) makes a null of 'k' = 'new' \(.*row 2\)",
    ),
    "JoinGroupby": (
        lambda: ["k"] >> etl.JoinGroupby("a", stats="mean"),
        {"k": ["x", "y", "new"]},
        r"JoinGroupby\(.*\) makes a null of 'k' = 'new' \(.*row 2\)",
    ),
    "after a filter": (
        lambda: ["a"] >> etl.FillMissing() >> etl.Filter(pl.col("a") < 5) >> etl.LogOp(),
        {"a": [8.0, None, -5.5]},
        r"LogOp\(\) makes a null of 'a' = -5.5 \(.*row 2\)",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_of_new_rows(name: str, tmp_path: Path) -> None:
    make, rows, message = CASES[name]
    workflow = etl.Workflow(make()).fit(pl.DataFrame(SEEN))
    data = pl.DataFrame(SEEN | rows, schema_overrides={"a": pl.Float64})
    data.write_parquet(tmp_path / "new.parquet")
    for source in (data, tmp_path / "new.parquet"):
        with pytest.raises(SchemaError, match=message):
            workflow.transform(source).collect()
    with pytest.raises(SchemaError, match=f"new.parquet, row .* is null after its operators.*{message}"):
        workflow.transform(tmp_path / "new.parquet").to_parquet(tmp_path / "out")


@pytest.mark.parametrize("name", ["LogOp", "renamed", "LambdaOp", "JoinExternal", "after a filter"])
def test_when_fitting(name: str) -> None:
    make, rows, message = CASES[name]
    with pytest.raises(SchemaError, match=f"nulls are left after the operators, in column '.*' .1.: {message}"):
        etl.Workflow(make()).fit(pl.DataFrame(SEEN | rows, schema_overrides={"a": pl.Float64}))


def test_of_earlier_rows() -> None:
    lag = ["a"] >> etl.DifferenceLag("k")
    with pytest.raises(SchemaError, match=r"DifferenceLag\(.*makes a null of 'a' = 0.0, 'k' = 'x' \(.*row 0\)"):
        etl.Workflow(lag).fit(pl.DataFrame(SEEN))


def test_one_in_the_data_is_none_of_an_operator() -> None:
    workflow = etl.Workflow(["a"] >> etl.LogOp()).fit(pl.DataFrame(SEEN))
    with pytest.raises(SchemaError, match="row 1: column 'a' is null .*batch.; add FillMissing or DropNA$"):
        workflow.transform(pl.DataFrame({"a": [1.0, None, -3.0]})).collect()
