"""The numeric operators against float64 NumPy and plain Python."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from fitted_tables import Fitted, columns, is_null
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec import etl
from kerasrec.schema import SchemaError, Tag

FLOATS = {"float32": pl.Float32, "float64": pl.Float64}


# ---- Normalize -----------------------------------------------------------------------------------
@pytest.mark.parametrize("offset", [0.0, 1e6, 1e9, -1e12])
@pytest.mark.parametrize("lazy", [False, True])
def test_normalize_is_numpys(offset: float, lazy: bool) -> None:
    x = np.random.default_rng(7).normal(offset, 3.0, 10_000)
    frame = pl.DataFrame({"x": x})
    workflow = etl.Workflow(["x"] >> etl.Normalize()).fit(frame.lazy() if lazy else frame)
    got = workflow.transform(frame).collect()["x"]
    assert got.dtype == pl.Float32
    # The mean of numbers around 1e12 is known to 1e-4 in float64: 1e-4 / 3 of a standard deviation.
    tolerance = max(1e-6, abs(offset) * 2e-16)
    np.testing.assert_allclose(got.to_numpy(), (x - x.mean()) / x.std(), rtol=1e-5, atol=tolerance)


@given(st.lists(st.integers(-(10**6), 10**6) | st.none(), min_size=1, max_size=20).filter(any))
@settings(max_examples=50, deadline=None)
def test_normalize_skips_nulls(values: list[int | None]) -> None:
    got = Fitted(etl.Normalize(), values, "int64", False).polars(values)
    known = np.array([value for value in values if value is not None], np.float64)
    std = known.std() or 1.0
    expected = [None if value is None else (value - known.mean()) / std for value in values]
    assert [value is None for value in got] == [value is None for value in expected]
    np.testing.assert_allclose(
        [v for v in got if v is not None], [v for v in expected if v is not None], rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("value", [0.1, 1e300, -7.0])
def test_a_constant_column_becomes_zero(value: float) -> None:
    frame = pl.DataFrame({"x": [value] * 1000})
    workflow = etl.Workflow(["x"] >> etl.Normalize()).fit(frame)
    assert workflow.transform(frame).collect()["x"].to_list() == [0.0] * 1000


def test_normalize_refuses_infinities_and_nothing() -> None:
    with pytest.raises(SchemaError, match="column 'x' has infinities"):
        etl.Workflow(["x"] >> etl.Normalize()).fit(pl.DataFrame({"x": [1.0, math.inf]}))
    with pytest.raises(SchemaError, match="column 'x' has no value, so Normalize has no mean"):
        etl.Workflow(["x"] >> etl.Normalize()).fit(pl.DataFrame({"x": [math.nan]}))


@pytest.mark.parametrize("op", [etl.Normalize(), etl.LogOp(), etl.Clip(min=0), etl.Bucketize([1]), etl.Target()])
def test_strings_are_refused(op: etl.Operator) -> None:
    with pytest.raises(SchemaError, match="column 'x' is string"):
        etl.Workflow(["x"] >> op).fit(pl.DataFrame({"x": ["a"]}))


# ---- LogOp ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_log(dtype: str, data: Any) -> None:
    values = data.draw(columns(dtype, min_size=1))
    got = Fitted(etl.LogOp(), [0.0], dtype, False).polars(values)
    assert str(got.dtype).lower() == dtype
    for value, log in zip(values, got, strict=True):
        if is_null(value, dtype) or value <= -1:
            assert log is None
        else:
            assert log == pytest.approx(np.log1p(np.float64(value)), rel=1e-6 if dtype == "float32" else 1e-14)


def test_logs_of_minus_one_and_below_are_nulls_that_fit_tells_of() -> None:
    with pytest.raises(
        SchemaError, match=r"nulls are left after the operators, in column 'x' \(2\): LogOp\(\) makes a null"
    ):
        etl.Workflow(["x"] >> etl.LogOp()).fit(pl.DataFrame({"x": [0, -1, -5]}))
    frame = pl.DataFrame({"x": [0, -1, -5]})
    assert etl.Workflow(["x"] >> etl.Clip(min=0) >> etl.LogOp()).fit_transform(frame).collect()["x"].to_list() == [
        0.0,
        0.0,
        0.0,
    ]


# ---- Clip ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("dtype", "made"), [("int64", "int64"), ("int8", "int8"), ("float32", "float32")])
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_clip(dtype: str, made: str, data: Any) -> None:
    values = data.draw(columns(dtype, min_size=1))
    fitted = Fitted(etl.Clip(min=-2, max=3), values, dtype, False)
    assert fitted.outputs[0].dtype == made
    expected = [None if is_null(value, dtype) else min(max(value, -2), 3) for value in values]
    assert fitted.polars(values).to_list() == expected


def test_clip_widens_integers_for_bounds_they_cannot_hold() -> None:
    assert Fitted(etl.Clip(min=0.5), [0, 2], "int64", False).polars([0, 2]).to_list() == [0.5, 2.0]
    assert Fitted(etl.Clip(max=1000), [5], "int8", False).outputs[0].dtype == "float64"


@pytest.mark.parametrize("bounds", [{}, {"min": 2, "max": 1}, {"min": math.nan}])
def test_clip_needs_bounds(bounds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Clip takes a min, a max, or both with min <= max"):
        etl.Clip(**bounds)


# ---- Bucketize -----------------------------------------------------------------------------------
@given(
    values=columns("float64", min_size=1),
    boundaries=st.lists(st.floats(-10, 10), min_size=1, max_size=5, unique=True).map(sorted),
)
@settings(max_examples=50, deadline=None)
def test_bucketize_is_numpys_digitize(values: list[float | None], boundaries: list[float]) -> None:
    workflow = etl.Workflow(["x"] >> etl.Bucketize(boundaries)).fit(pl.DataFrame({"x": [0.0]}))
    frame = pl.DataFrame({"x": values}, schema={"x": pl.Float64})
    expected = [1 if is_null(v, "float64") else 3 + int(np.digitize(v, boundaries)) for v in values]  # type: ignore
    assert workflow.transform(frame).collect()["x"].to_list() == expected
    column = workflow.output_schema["x"]
    assert (column.dtype, column.cardinality, column.table) == ("int32", 3 + len(boundaries) + 1, "x")
    assert Tag.CATEGORICAL in column.tags


@pytest.mark.parametrize("boundaries", [[], [1, 1], [2, 1], [math.inf], [math.nan]])
def test_bucketize_needs_increasing_boundaries(boundaries: list[float]) -> None:
    with pytest.raises(ValueError, match="boundaries must be finite and increasing"):
        etl.Bucketize(boundaries)


# ---- FillMissing ---------------------------------------------------------------------------------
def test_fill_missing() -> None:
    frame = pl.DataFrame({"x": [1.5, None, math.nan], "n": [[1, None], None, []], "s": ["", None, "a"]})
    numbers = ["x", "n"] >> etl.FillMissing(7)
    words = ["s"] >> etl.FillMissing("?") >> etl.Categorify()
    got = etl.Workflow(numbers + words).fit_transform(frame).collect()
    assert got["x"].to_list() == [1.5, 7.0, 7.0]
    assert got["n"].to_list() == [[1.0, 7.0], [], []]
    assert got["s"].to_list() == [3, 4, 5]


@pytest.mark.parametrize(("values", "value"), [(["a"], 0), ([1], "a"), ([1], 0.5), ([True], 2), ([1.0], "0")])
def test_fill_missing_refuses_values_of_another_type(values: list[Any], value: Any) -> None:
    with pytest.raises(SchemaError, match=r"column 'x' is \w+, and FillMissing\(.*\) is not a value of that type"):
        etl.Workflow(["x"] >> etl.FillMissing(value)).fit(pl.DataFrame({"x": values}))


# ---- Target --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("op", "values", "kind", "expected"),
    [
        (etl.Target(), [0, 1, 1], Tag.BINARY, [0, 1, 1]),
        (etl.Target(), [True, False], Tag.BINARY, [1, 0]),
        (etl.Target(), [0, 2], Tag.REGRESSION, [0, 2]),
        (etl.Target(), [0.0, 0.5], Tag.REGRESSION, [0, 0.5]),
        (etl.Target(threshold=4), [3, 4, 5], Tag.BINARY, [0, 1, 1]),
        (etl.Target(binary=False), [0, 1], Tag.REGRESSION, [0, 1]),
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_target(op: etl.Operator, values: list[Any], kind: Tag, expected: list[float], lazy: bool) -> None:
    frame = pl.DataFrame({"y": values})
    workflow = etl.Workflow(["y"] >> op).fit(frame.lazy() if lazy else frame)
    assert workflow.output_schema["y"].tags == tuple(sorted((Tag.TARGET, kind)))
    got = workflow.transform(frame).collect()["y"]
    assert (got.dtype, got.to_list()) == (pl.Float32, expected)


def test_target_refusals() -> None:
    with pytest.raises(SchemaError, match="column 'y' has a value 2.0; Target.binary=True. takes only 0 and 1"):
        etl.Workflow(["y"] >> etl.Target(binary=True)).fit(pl.DataFrame({"y": [0, 1, 2, 3]}))
    with pytest.raises(SchemaError, match="column 'y' has lists, which cannot be a target"):
        etl.Workflow(["y"] >> etl.Target()).fit(pl.DataFrame({"y": [[1]]}))
    workflow = etl.Workflow(["y"] >> etl.Target()).fit(pl.DataFrame({"y": [0, 1]}))
    with pytest.raises(
        SchemaError, match="the frame, row 2: target 'y' is 3.0, but the workflow was fitted on 0 and 1 only"
    ):
        workflow.transform(pl.DataFrame({"y": [0, 1, 3]})).collect()


def test_a_positive_value_is_1_and_all_others_are_0() -> None:
    frame = pl.DataFrame({"a": ["yes", "no", "no", "maybe"], "b": [2, 7, 7, 2]})
    workflow = etl.Workflow((["a"] >> etl.Target(positive="yes")) + (["b"] >> etl.Target(positive=7)))
    features = workflow.fit_transform(frame)
    assert features.collect().to_dict(as_series=False) == {"a": [1, 0, 0, 0], "b": [0, 1, 1, 0]}
    assert {column.name: Tag.BINARY in column.tags for column in features.schema} == {"a": True, "b": True}
    with pytest.raises(SchemaError, match="column 'a' has no value 'Yes'"):
        etl.Workflow(["a"] >> etl.Target(positive="Yes")).fit(frame)
    with pytest.raises(SchemaError, match=r"column 'b' is int64; Target\(positive='7'\) compares strings"):
        etl.Workflow(["b"] >> etl.Target(positive="7")).fit(frame)
    with pytest.raises(SchemaError, match=r"'a' .* 0 and 1|nulls|null"):
        etl.Workflow(["a"] >> etl.Target(positive="yes")).fit(pl.DataFrame({"a": ["yes", None]}))
    with pytest.raises(SchemaError, match=r"column 'b' is int64, which has no value 7.5"):
        etl.Workflow(["b"] >> etl.Target(positive=7.5)).fit(frame)
    with pytest.raises(ValueError, match="threshold or positive, not both"):
        etl.Target(threshold=1, positive="yes")
