"""Every operator computes the same on Polars and on TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from faces import ELEMENTS, Fitted, columns, is_null, list_columns, same
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kerasrec import etl

pytest.importorskip("tensorflow")

NUMBERS = [dtype for dtype in ELEMENTS if dtype != "string"]
KEYS = ["string", "bool", "int8", "int32", "int64", "uint64"]
OPS: dict[str, tuple[Callable[[], etl.Operator], list[str]]] = {
    "Categorify": (etl.Categorify, KEYS),
    "Categorify rare": (lambda: etl.Categorify(min_count=2, max_size=5), KEYS),
    "Categorify buckets": (lambda: etl.Categorify(min_count=2, num_buckets=3), ["string", "bool", "int64"]),
    "FillMissing words": (lambda: etl.FillMissing("?"), ["string"]),
    "FillMissing": (lambda: etl.FillMissing(1), NUMBERS),
    "Clip": (lambda: etl.Clip(min=0, max=3), NUMBERS),
    "Clip below": (lambda: etl.Clip(min=-1.25), NUMBERS),
    "LogOp": (etl.LogOp, NUMBERS),
    "Normalize": (etl.Normalize, NUMBERS),
    "Bucketize": (lambda: etl.Bucketize([-2.5, 0.1, 1, 1.5, 1e6]), NUMBERS),
    "Target": (etl.Target, NUMBERS),
    "Target threshold": (lambda: etl.Target(threshold=1.5), NUMBERS),
    "FillMedian": (etl.FillMedian, NUMBERS),
    "NormalizeMinMax": (etl.NormalizeMinMax, NUMBERS),
    "HashBucket": (lambda: etl.HashBucket(5), KEYS),
    "HashBucket many": (lambda: etl.HashBucket(2**40), ["string", "int64"]),
    "ReduceDtypeSize": (etl.ReduceDtypeSize, ["int32", "float64"]),
    "DropLowCardinality": (etl.DropLowCardinality, ["float32"]),
    "Rename": (lambda: etl.Rename({"x": "x"}), list(ELEMENTS)),
    "AddTags": (lambda: etl.AddTags("user"), list(ELEMENTS)),
}
CASES = [
    (name, dtype, is_list) for name, (_, dtypes) in OPS.items() for dtype in dtypes for is_list in (False, True)
]


@pytest.mark.parametrize(
    ("name", "dtype", "is_list"), [case for case in CASES if not (case[0].startswith("Target") and case[2])]
)
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_both_faces_agree(name: str, dtype: str, is_list: bool, data: Any) -> None:
    kind = list_columns if is_list else columns
    fitted_on, values = data.draw(kind(dtype, min_size=1)), data.draw(kind(dtype))
    some = data.draw(ELEMENTS[dtype].filter(lambda value: value == value))
    fitted_on = [*fitted_on, [some, None]] if is_list else [*fitted_on, some, None]  # so that nulls are expected
    fitted = Fitted(OPS[name][0](), fitted_on, dtype, is_list)
    same(fitted.polars(values), fitted.tensorflow(values), ulps=4 if name == "LogOp" else 0)


@pytest.mark.parametrize("dtype", ["int64", "float32", "float64"])
def test_without_nulls_the_wire_has_no_valid(dtype: str) -> None:
    fitted = Fitted(etl.Bucketize([1, 2]), [0, 1, 2, 3], dtype, False)
    assert not fitted.inputs[0].nullable
    assert fitted.tensorflow([0, 1, 2, 3]) == fitted.polars([0, 1, 2, 3]).to_list() == [3, 4, 5, 5]


def test_nan_is_null_even_where_none_was_seen() -> None:
    fitted = Fitted(etl.FillMissing(7), [1.0], "float64", False)
    assert fitted.tensorflow([float("nan")]) == fitted.polars([float("nan")]).to_list() == [7.0]


@given(dtype=st.sampled_from(["float32", "float64"]), data=st.data())
@settings(max_examples=30, deadline=None)
def test_bucketize_keeps_the_columns_precision(dtype: str, data: Any) -> None:
    """Boundaries a float64 apart, and values right at them: float32 boundaries would confuse these."""
    boundaries = [0.1, 0.1 + 2**-50, 0.3]
    values = data.draw(st.lists(st.sampled_from(boundaries) | ELEMENTS[dtype], max_size=8))
    fitted = Fitted(etl.Bucketize(boundaries), [0.0], dtype, False)
    same(fitted.polars(values), fitted.tensorflow(values))
    if dtype == "float64":
        expected = [1 if is_null(v, dtype) else 3 + sum(v >= b for b in boundaries) for v in values]
        assert fitted.polars(values).to_list() == expected
