"""FillMissing's flags, FillMedian and NormalizeMinMax against NumPy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from fitted_tables import ELEMENTS, Fitted, run_both
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec import etl
from kerasrec.schema import SchemaError

NUMBERS = st.floats(-1e9, 1e9) | st.integers(-5, 5).map(float) | st.sampled_from([0.1, 1234567.25, 1234567.5])


# ---- FillMedian ----------------------------------------------------------------------------------
@given(st.lists(st.none() | NUMBERS, min_size=1, max_size=15).filter(lambda x: any(v is not None for v in x)))
@settings(max_examples=25, deadline=None)
def test_the_median_is_numpys(values: list[float | None]) -> None:
    known = np.array([value for value in values if value is not None])
    got = Fitted(etl.FillMedian(), values, "float64", False).polars([None])[0]
    digits = {f"{value:.5e}" for value in known}
    # Exact where no two values agree in six digits.
    assert got == pytest.approx(np.median(known), rel=1e-12 if len(digits) == len(set(known)) else 5e-6)


@pytest.mark.parametrize("lazy", [False, True])
def test_medians_of_many(lazy: bool) -> None:
    random = np.random.default_rng(3)
    columns = {
        "normal": random.normal(size=30_001),
        "prices": random.lognormal(3, 2, 30_000).round(2),
        "counts": random.zipf(1.3, 30_000).clip(max=10**9),
        "huge": random.normal(1e300, 1e299, 30_001),
        "narrow": 1e6 + random.random(30_001),
    }
    frame = pl.DataFrame({name: pl.Series(values[:30_000]) for name, values in columns.items()})
    workflow = etl.Workflow(frame.columns >> etl.FillMedian()).fit(frame.lazy() if lazy else frame)
    told = {name: facts["median"] for name, facts in workflow._root.op.state.items()}
    for name in frame.columns:
        assert told[name] == pytest.approx(np.median(frame[name].to_numpy()), rel=5e-6), name
    assert told["counts"] == np.median(frame["counts"].to_numpy())


def test_medians_of_lists_and_integers() -> None:
    frame = pl.DataFrame(
        {"l": [[1.0, None], [], None, [4.0, 7.0]], "i": [1, 2, None, 4], "b": [True, None, True, False]}
    )
    rows = etl.Workflow(["l", "i", "b"] >> etl.FillMedian()).fit_transform(frame).collect()
    assert rows["l"].to_list() == [[1.0, 4.0], [], [], [4.0, 7.0]]
    assert rows["i"].to_list() == [1, 2, 2, 4]
    assert rows["b"].to_list() == [1, 1, 1, 0]


def test_medians_that_are_none() -> None:
    with pytest.raises(SchemaError, match="column 'x' has no value, so it has no median"):
        etl.Workflow(["x"] >> etl.FillMedian()).fit(
            pl.DataFrame({"x": [None, math.nan]}, schema={"x": pl.Float64})
        )
    with pytest.raises(SchemaError, match="column 'x': the median is inf; Clip it before"):
        etl.Workflow(["x"] >> etl.FillMedian()).fit(pl.DataFrame({"x": [math.inf, None]}))
    with pytest.raises(SchemaError, match="column 'x' is string; FillMedian takes numbers"):
        etl.Workflow(["x"] >> etl.FillMedian()).fit(pl.DataFrame({"x": ["a"]}))


# ---- which were filled ---------------------------------------------------------------------------
@pytest.mark.parametrize("op", [etl.FillMissing(2, add_binary_cols=True), etl.FillMedian(add_binary_cols=True)])
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_flags_are_the_same_in_both_implementations(op: etl.Operator, data: Any) -> None:
    kinds = ("float64", "int32")
    rows = data.draw(st.lists(st.tuples(*(st.none() | ELEMENTS[kind] for kind in kinds)), max_size=6))
    _, polars, tensors = run_both(["a", "b"] >> op, ["a", "b"], kinds, [(1.0, 1), (None, None)], rows)
    assert polars.columns == ["a", "b", "a_filled", "b_filled"]
    for i, name in enumerate(["a_filled", "b_filled"]):
        expected = [float(row[i] is None or row[i] != row[i]) for row in rows]
        assert polars[name].to_list() == tensors[name].tolist() == expected
    # TensorFlow takes numbers too small to be normal for 0.
    np.testing.assert_allclose(tensors["a"], polars["a"].to_numpy(), rtol=0, atol=2e-38)


def test_flags_of_lists_and_on_disk(tmp_path: Path) -> None:
    frame = pl.DataFrame({"l": [[1, None], [], None]})
    workflow = etl.Workflow(["l"] >> etl.FillMissing(7, add_binary_cols=True)).fit(frame)
    rows = workflow.transform(frame).collect()
    assert rows["l"].to_list() == [[1, 7], [], []]
    assert rows["l_filled"].to_list() == [[0, 1], [], []]
    workflow.save(tmp_path / "w")
    assert etl.Workflow.load(tmp_path / "w").transform(frame).collect().equals(rows)
    median = etl.Workflow(["l"] >> etl.FillMedian()).fit(frame)
    median.save(tmp_path / "m")
    assert etl.Workflow.load(tmp_path / "m").transform(frame).collect()["l"].to_list() == [[1, 1], [], []]


# ---- NormalizeMinMax -----------------------------------------------------------------------------
@given(st.lists(st.none() | st.floats(-1e9, 1e9), min_size=1).filter(lambda x: any(v is not None for v in x)))
@settings(max_examples=25, deadline=None)
def test_min_max(values: list[float | None]) -> None:
    known = np.array([value for value in values if value is not None])
    got = Fitted(etl.NormalizeMinMax(), values, "float64", False).polars([*values, 2e9])
    span = np.ptp(known)
    assert [value is None for value in got[:-1]] == [value is None for value in values]
    if span > np.finfo("float64").tiny:
        with np.errstate(over="ignore"):
            expected = (np.array([*known, 2e9]) - known.min()) / span
        np.testing.assert_allclose(got.drop_nulls().to_numpy(), expected, rtol=1e-14)
    else:
        assert set(got[:-1].drop_nulls().cast(pl.Float32)) == {0.0}  # what leaves the workflow


def test_min_max_on_disk_and_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [[1, 3], [], [2]], "y": [5, 5, 5]})
    workflow = etl.Workflow(["x", "y"] >> etl.NormalizeMinMax()).fit(frame)
    workflow.save(tmp_path / "w")
    rows = etl.Workflow.load(tmp_path / "w").transform(frame).collect()
    assert rows["x"].to_list() == [[0, 1], [], [0.5]]
    assert rows["y"].to_list() == [0, 0, 0]
    for bad, message in {
        math.inf: "has infinities",
        None: "has no value",
        1.7e308: "ranges from -1.7e.308 to 1.7e.308",
    }.items():
        with pytest.raises(SchemaError, match=f"column 'x' {message}"):
            values = [bad, -bad] if bad else [bad]
            etl.Workflow(["x"] >> etl.NormalizeMinMax()).fit(pl.DataFrame({"x": values}, schema={"x": pl.Float64}))
