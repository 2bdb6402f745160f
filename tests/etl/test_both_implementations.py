"""Every operator computes the same on Polars and on TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fitted_tables import ELEMENTS, Fitted, FittedTable, columns, is_null, polars_type, same
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kerasrec import etl

pytest.importorskip("tensorflow")

NUMBERS = [dtype for dtype in ELEMENTS if dtype != "string"]
KEYS = ["string", "bool", "int8", "int32", "int64", "uint64"]
OPS: dict[
    str, tuple[Callable[[str], etl.Operator], list[str]]
] = {  # from a column's name; for columns of these types
    "Categorify": (lambda _: etl.Categorify(), KEYS),
    "Categorify rare": (lambda _: etl.Categorify(min_count=2, max_size=5), KEYS),
    "Categorify buckets": (lambda _: etl.Categorify(min_count=2, num_buckets=3), ["string", "bool", "int64"]),
    "FillMissing words": (lambda _: etl.FillMissing("?"), ["string"]),
    "FillMissing": (lambda _: etl.FillMissing(1), NUMBERS),
    "Clip": (lambda _: etl.Clip(min=0, max=3), NUMBERS),
    "Clip below": (lambda _: etl.Clip(min=-1.25), NUMBERS),
    "LogOp": (lambda _: etl.LogOp(), NUMBERS),
    "Normalize": (lambda _: etl.Normalize(), NUMBERS),
    "Bucketize": (lambda _: etl.Bucketize([-2.5, 0.1, 1, 1.5, 1e6]), NUMBERS),
    "Target": (lambda _: etl.Target(), NUMBERS),
    "Target threshold": (lambda _: etl.Target(threshold=1.5), NUMBERS),
    "Target positive": (lambda _: etl.Target(positive=1), NUMBERS),
    "FillMedian": (lambda _: etl.FillMedian(), NUMBERS),
    "NormalizeMinMax": (lambda _: etl.NormalizeMinMax(), NUMBERS),
    "HashBucket": (lambda _: etl.HashBucket(5), KEYS),
    "HashBucket many": (lambda _: etl.HashBucket(2**40), ["string", "int64"]),
    "ReduceDtypeSize": (lambda _: etl.ReduceDtypeSize(), ["int32", "float64"]),
    "DropLowCardinality": (lambda _: etl.DropLowCardinality(), ["float32"]),
    "Rename": (lambda name: etl.Rename({name: name}), list(ELEMENTS)),
    "SplitString": (lambda _: etl.SplitString("a"), ["string"]),
    "SplitString strip": (lambda _: etl.SplitString("b", strip=True), ["string"]),
    "AddTags": (lambda _: etl.AddTags("user"), list(ELEMENTS)),
}


@pytest.mark.parametrize("name", OPS)
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_both_implementations_make_the_same(name: str, data: Any) -> None:
    """One workflow an operator, with a column and a list column of every type that it takes."""
    make, dtypes = OPS[name]
    kinds = [False] if name.startswith(("Target", "SplitString")) else [False, True]
    types = {f"{dtype} {is_list}": (dtype, is_list) for dtype in dtypes for is_list in kinds}
    seen, new = data.draw(st.integers(1, 8)), data.draw(st.integers(0, 8))
    fitted_on, values = {}, {}
    for column, (dtype, is_list) in types.items():
        row = st.none() | (columns(dtype) if is_list else ELEMENTS[dtype])
        some = data.draw(ELEMENTS[dtype].filter(lambda value: value == value))
        nulls = [[some, None], []] if is_list else [some, None]  # so that nulls are expected
        if name == "Target positive":
            nulls.append({"bool": True, "float32": 1.0, "float64": 1.0}.get(dtype, 1))
        fitted_on[column] = data.draw(st.lists(row, min_size=seen, max_size=seen)) + nulls
        values[column] = data.draw(st.lists(row, min_size=new, max_size=new))
    ops = {column: make(column) for column in types}
    table = FittedTable(ops, fitted_on, {column: polars_type(*kind) for column, kind in types.items()})
    expected, served = table.polars(values), table.tensorflow(values)
    assert list(served) == expected.columns == list(types)
    for column in types:
        same(expected[column], served[column], ulps=4 if name == "LogOp" else 0)


@pytest.mark.parametrize("dtype", ["int64", "float32", "float64"])
def test_without_nulls_the_wire_has_no_valid(dtype: str) -> None:
    fitted = Fitted(etl.Bucketize([1, 2]), [0, 1, 2, 3], dtype, False)
    assert not fitted.inputs[0].nullable
    assert fitted.tensorflow([0, 1, 2, 3]) == fitted.polars([0, 1, 2, 3]).to_list() == [3, 4, 5, 5]


def test_nan_is_null_even_where_none_was_seen() -> None:
    fitted = Fitted(etl.FillMissing(7), [1.0], "float64", False)
    assert fitted.tensorflow([float("nan")]) == fitted.polars([float("nan")]).to_list() == [7.0]


@given(dtype=st.sampled_from(["float32", "float64"]), data=st.data())
@settings(max_examples=12, deadline=None)
def test_bucketize_keeps_the_columns_precision(dtype: str, data: Any) -> None:
    """Boundaries a float64 apart, and values right at them: float32 boundaries would confuse these."""
    boundaries = [0.1, 0.1 + 2**-50, 0.3]
    values = data.draw(st.lists(st.sampled_from(boundaries) | ELEMENTS[dtype], max_size=8))
    fitted = Fitted(etl.Bucketize(boundaries), [0.0], dtype, False)
    same(fitted.polars(values), fitted.tensorflow(values))
    if dtype == "float64":
        expected = [1 if is_null(v, dtype) else 3 + sum(v >= b for b in boundaries) for v in values]
        assert fitted.polars(values).to_list() == expected
