"""Operators over columns of every type at once: Polars, and TensorFlow eagerly, traced and out of a SavedModel."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import polars as pl
import pytest
from served_frames import assert_served_as_transformed

from kerasrec import etl
from kerasrec.etl.operator.operator import Node

pytest.importorskip("tensorflow")

INTEGERS = {
    **{f"int{n}": (getattr(pl, f"Int{n}"), [-(2 ** (n - 1)), 2 ** (n - 1) - 1, 0, 1]) for n in (8, 16, 32, 64)},
    **{f"uint{n}": (getattr(pl, f"UInt{n}"), [2**n - 1, 3, 0, 1]) for n in (8, 16, 32, 64)},
}
KEYS = INTEGERS | {
    "string": (pl.String, ["", "a\x00", "é\n", "b"]),
    "bool": (pl.Boolean, [True, False, True, False]),
}
DATES = {
    "date": (pl.Date, [date(1969, 12, 31), date(2030, 5, 5), date(2000, 2, 29), date(2020, 1, 1)]),
    "time": (pl.Datetime("ms"), [datetime(1960, 1, 1, 23), datetime(2030, 5, 5, 1), *2 * [datetime(2000, 1, 1)]]),
}
FLOATS = {
    "float32": (pl.Float32, [0.5, -1.0, 7.5, 3.25]),
    "float64": (pl.Float64, [0.5, -1.0, 7.5, 2.0]),
}
NUMBERS = INTEGERS | FLOATS | {"bool": KEYS["bool"]}
LISTS = ["list_int8", "list_uint64", "list_string"]


def frame(kinds: dict[str, Any], *, unseen: bool = False, nulls: bool = True) -> pl.DataFrame:
    """Four rows of columns of these types, and of lists of them; one of the values is there only if `unseen`."""
    columns: dict[str, Any] = {"x": [1.0, 2.0, 4.0, 7.0], "y": [0, 1, 1, 0]}
    for name, (dtype, values) in kinds.items():
        a, b, c, new = (values[i] for i in (3, 0, 1, 2)) if unseen else (*values[:3], values[0])
        last = None if nulls else new
        columns[name] = pl.Series([a, b, new if unseen else a, last], dtype=dtype)
        lists = [[a, b, *([None] if nulls else [])], [], [new], None if nulls else [c]]
        columns[f"list_{name}"] = pl.Series(lists, dtype=pl.List(dtype))
    return pl.DataFrame(columns)


def external(columns: list[str]) -> pl.DataFrame:
    """Values of every type beside the first two keys, and the null, of some of the columns."""
    seen = frame(KEYS | DATES).select(columns).unique(maintain_order=True)
    values = frame(KEYS | DATES | FLOATS).select(pl.all().exclude("x", "y").name.prefix("of_")).head(len(seen))
    return pl.concat([seen, values], how="horizontal")


def joined(on: list[str]) -> Node:
    join = etl.JoinExternal(external(on), on)
    made = on >> join
    words = [f"of_{name}" for kind in ("int8", "uint64", "string", "bool") for name in (kind, f"list_{kind}")]
    times = [f"of_{name}" for kind in DATES for name in (kind, f"list_{kind}")]
    numbers = made[[f"of_{kind}" for kind in FLOATS]] >> etl.FillMissing(-9)
    return (made[words] >> etl.HashBucket(99)) + (made[times] >> etl.TimeFeatures(["hour", "day"])) + numbers


PAIRS = [["int8", "string"], ["string", "uint64"], ["bool", "time", "int64"], ["date", "uint8"]]
STATS = ["count", "mean"]
WORDS = pl.DataFrame({"id": ["a\x00", "b", ""], "feature": [1, 2, 1]})
TIMES = pl.DataFrame({"id": DATES["time"][1][:3], "feature": [1, 2, 1]}, schema_overrides={"id": pl.Datetime})
OPERATORS: dict[str, tuple[dict[str, Any], Callable[[], Any]]] = {
    "Categorify": (KEYS, lambda: [*KEYS, *LISTS] >> etl.Categorify(min_count=2)),
    "Categorify buckets": (KEYS, lambda: [*KEYS, *LISTS] >> etl.Categorify(min_count=2, num_buckets=3)),
    "Categorify combo": (KEYS, lambda: list(KEYS) >> etl.Categorify(combo=True)),
    "HashBucket": (KEYS, lambda: [*KEYS, *LISTS] >> etl.HashBucket(7)),
    "HashedCross": (KEYS, lambda: list(KEYS) >> etl.HashedCross(7)),
    "ReduceDtypeSize": (KEYS, lambda: [*KEYS, *LISTS] >> etl.HashBucket(99) >> etl.ReduceDtypeSize()),
    "ListSlice": (KEYS, lambda: LISTS >> etl.HashBucket(99) >> etl.ListSlice(-2) >> etl.ValueCount()),
    "ListSlice pad": (KEYS, lambda: LISTS >> etl.HashBucket(99) >> etl.ListSlice(1, 3, pad=True)),
    "JoinGroupby": (
        KEYS | DATES,
        lambda: [*KEYS, *DATES, *PAIRS] >> etl.JoinGroupby("x", stats=STATS) >> etl.FillMissing(-9),
    ),
    "TargetEncoding": (KEYS | DATES, lambda: ["int8", *PAIRS] >> etl.TargetEncoding("y")),
    "JoinExternal": (KEYS | DATES, lambda: joined(["string"])),
    "JoinExternal by a time": (KEYS | DATES, lambda: joined(["time"])),
    "JoinExternal jointly": (KEYS | DATES, lambda: joined(["string", "int64"])),
    "JoinExternal by three": (KEYS | DATES, lambda: joined(["bool", "date", "uint64"])),
    "ColumnSimilarity": (
        KEYS | DATES,
        lambda: ["string", "time"] >> etl.ColumnSimilarity(WORDS, TIMES, "inner"),
    ),
    "TimeFeatures": (DATES, lambda: [*DATES, *(f"list_{name}" for name in DATES)] >> etl.TimeFeatures()),
    "TimeFeatures cyclic": (DATES, lambda: list(DATES) >> etl.TimeFeatures(encode="cyclic") >> etl.FillMissing(2)),
    "Bucketize": (NUMBERS, lambda: [*NUMBERS, "list_float32", "list_int8"] >> etl.Bucketize([0.5, 1, 100])),
    "Clip": (NUMBERS, lambda: list(NUMBERS) >> etl.Clip(max=100) >> etl.Clip(min=0.5) >> etl.FillMissing(1)),
    "FillMedian": (NUMBERS, lambda: [*NUMBERS, "list_float64"] >> etl.FillMedian(add_binary_cols=True)),
    "LogOp": (NUMBERS, lambda: [*NUMBERS, "list_float64"] >> etl.LogOp() >> etl.FillMissing()),
    "Normalize": (NUMBERS, lambda: [*NUMBERS, "list_uint8"] >> etl.FillMissing(1) >> etl.Normalize()),
    "NormalizeMinMax": (NUMBERS, lambda: [*NUMBERS, "list_uint8"] >> etl.FillMissing(1) >> etl.NormalizeMinMax()),
    "NegativeSampling": (
        KEYS,
        lambda: (
            ["string", "int8"] >> etl.Categorify() >> etl.NegativeSampling("string") >> etl.DropLowCardinality(1)
        ),
    ),
}


@pytest.mark.parametrize("nulls", [True, False])
@pytest.mark.parametrize("name", OPERATORS)
def test_every_type(name: str, nulls: bool) -> None:
    kinds, make = OPERATORS[name]
    workflow = etl.Workflow(make()).fit(frame(kinds, nulls=nulls))
    # LogOp: Polars and TensorFlow have other last digits.
    ulps = 4 if name in ("LogOp", "TimeFeatures cyclic") else 0
    assert_served_as_transformed(workflow, frame(kinds, nulls=nulls), ulps=ulps)
    assert_served_as_transformed(workflow, frame(kinds, unseen=True, nulls=nulls), ulps=ulps)
