"""DifferenceLag against pandas, over files and batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from kerasrec import etl
from kerasrec.etl.run import gather
from kerasrec.etl.run.column_expr import ColumnExpr
from kerasrec.etl.run.evaluate import evaluate
from kerasrec.etl.sources.scan import scan
from kerasrec.schema import SchemaError, Tag

pandas = pytest.importorskip("pandas")

SCHEMA = {"user": pl.String, "day": pl.Int8, "x": pl.Float64, "n": pl.UInt64}
ROW = st.tuples(
    st.none() | st.sampled_from("ab"),
    st.none() | st.integers(-1, 1),
    st.none() | st.integers(-1000, 1000).map(float),
    st.none() | st.integers(0, 9) | st.integers(2**64 - 9, 2**64 - 1),
)


def frame(rows: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@given(
    rows=st.lists(ROW, min_size=1, max_size=20),
    partition=st.sampled_from([["user"], ["user", "day"]]),
    shifts=st.sampled_from([[1], [2, -1]]),
    lazy=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_against_pandas(rows: list[Any], partition: list[str], shifts: list[int], lazy: bool) -> None:
    data = frame(rows)
    node = ["x", "day"] >> etl.DifferenceLag(partition, shifts)
    workflow = etl.Workflow(node >> etl.FillMissing(-9999)).fit(data.lazy() if lazy else data)
    table = data.select("user", "x", pl.col("day").cast(pl.Float64)).to_pandas()
    by = [table[name].fillna("null" if name == "user" else 99) for name in partition]
    expected = {}
    for name in ("x", "day"):
        for shift in shifts:
            if name not in partition:
                lag = (table[name] - table.groupby(by)[name].shift(shift)).fillna(-9999)
                expected[f"{name}_difference_lag_{shift}"] = lag.to_numpy("float32")
    made = workflow.transform(data).collect()
    assert made.columns == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(made[name].to_numpy(), values, err_msg=name)


@given(rows=st.lists(ROW, min_size=1, max_size=12))
@settings(max_examples=10, deadline=None)
def test_large_integers_are_exact(rows: list[Any]) -> None:
    """Before the workflow makes float32 of them; as long as the difference is an int64."""
    source = scan(frame(rows))
    raw = {name: ColumnExpr(source.column(name), source.clean(source.column(name))) for name in SCHEMA}
    (value,) = evaluate(["n"] >> etl.DifferenceLag("user"), raw)
    got = source.frame.select(value.expr).collect().to_series()
    assert (got.dtype, value.column.dtype) == (pl.Int64, "int64")
    last: dict[Any, Any] = {}
    for (user, _, _, n), difference in zip(rows, got, strict=True):
        before = last.get(user)
        expected = None if n is None or before is None else n - before
        if expected is None or abs(expected) < 2**63:
            assert difference == expected
        else:
            assert (difference - expected) % 2**64 == 0
        last[user] = n


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_across_files_and_batches(tmp_path: Path, suffix: str) -> None:
    rows = gather.BATCH_ROWS + 40_000
    rng = np.random.default_rng(3)
    data = pl.DataFrame({"user": rng.integers(0, 9000, rows), "t": np.cumsum(rng.integers(0, 3, rows))})
    (tmp_path / "raw").mkdir()
    for i, cut in enumerate([(0, 7), (7, 150_000), (150_007, None)]):
        part = data.slice(*cut)
        path = tmp_path / "raw" / f"{i}.{suffix}"
        part.write_csv(path) if suffix == "csv" else part.write_parquet(path, row_group_size=50_000)
    lag = ["t"] >> etl.DifferenceLag("user", [1, -2]) >> etl.FillMissing(-1)
    workflow = etl.Workflow(lag >> etl.NormalizeMinMax()).fit(tmp_path / "raw")
    grouped = data.to_pandas().groupby("user")["t"]
    expected = {by: (data.to_pandas()["t"] - grouped.shift(by)).fillna(-1).to_numpy() for by in (1, -2)}
    workflow.transform(tmp_path / "raw").to_parquet(tmp_path / "out")
    made = pl.read_parquet(tmp_path / "out" / "*.parquet")
    for by, y in expected.items():
        scaled = (y - y.min()) / (y.max() - y.min())
        np.testing.assert_allclose(made[f"t_difference_lag_{by}"].to_numpy(), scaled, rtol=1e-6)


ROWS = frame([("a", 1, 1.0, 5), ("b", 1, 2.0, 2), ("a", 2, 4.0, None), (None, 1, 7.0, 1), ("a", 2, 8.0, 6)])


def test_names_nodes_and_save(tmp_path: Path) -> None:
    tagged = ["x"] >> etl.AddTags("user")
    users = ["user"] >> etl.Categorify()
    workflow = etl.Workflow(tagged >> etl.DifferenceLag(users) >> etl.FillMissing(-1)).fit(ROWS)
    assert workflow.transform(ROWS).collect()["x_difference_lag_1"].to_list() == [-1, -1, 3, -1, 4]
    assert Tag.USER in workflow.output_schema["x_difference_lag_1"].tags
    loaded = etl.Workflow.load(workflow.save(tmp_path / "w"))
    assert repr(loaded) == repr(workflow)
    assert_frame_equal(loaded.transform(ROWS).collect(), workflow.transform(ROWS).collect())
    assert loaded.transform(ROWS.head(0)).collect().is_empty()
    assert loaded.transform(ROWS.head(1)).collect().rows() == [(-1.0,)]
    kept = ["user", "x"] >> etl.DifferenceLag("user") >> etl.FillMissing() >> etl.Filter(pl.first() > 0)
    assert etl.Workflow(kept).fit(ROWS).transform(ROWS).collect().rows() == [(3.0,), (4.0,)]


def test_errors() -> None:
    lists = ROWS.with_columns(tags=pl.lit([1]))
    for make, error, message in [
        (lambda: etl.DifferenceLag("user", 0), ValueError, r"integers other than 0; got \[0\]"),
        (lambda: etl.DifferenceLag("user", []), ValueError, "integers other than 0"),
        (lambda: ["user"] >> etl.DifferenceLag("user"), ValueError, r"no column to compute differences of"),
        (
            lambda: etl.Workflow(["user"] >> etl.DifferenceLag("day")).fit(lists),
            SchemaError,
            "'user' is string; DifferenceLag",
        ),
        (lambda: etl.Workflow(["tags"] >> etl.DifferenceLag("day")).fit(lists), SchemaError, "'tags' has lists"),
        (lambda: etl.Workflow(["day"] >> etl.DifferenceLag("x")).fit(lists), SchemaError, "'x' is float64"),
        (
            lambda: etl.Workflow(["x", "user"] >> etl.DropNA() >> etl.DifferenceLag("user")).fit(lists),
            SchemaError,
            "cannot come after an operator that drops rows",
        ),
    ]:
        with pytest.raises(error, match=message):
            make()  # type: ignore[no-untyped-call]
    with pytest.raises(ValueError, match="partition_cols must have at least one column"):
        ["x"] >> etl.DifferenceLag([])
    pytest.importorskip("tensorflow")
    workflow = etl.Workflow(["x"] >> etl.DifferenceLag("user") >> etl.FillMissing()).fit(ROWS)
    with pytest.raises(SchemaError, match="column 'x' cannot be part of a served model: the diff"):
        workflow.tensorflow_module()
