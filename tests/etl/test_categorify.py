"""Categorify against plain Python counting."""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec import etl
from kerasrec.schema import SchemaError, Tag

KEYS = {
    "string": (pl.String, st.text(max_size=2)),
    "few strings": (pl.String, st.sampled_from(["", "a", "b", "aa", "é"])),
    "int64": (pl.Int64, st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)),
    "int8": (pl.Int8, st.integers(-3, 3)),
    "uint64": (pl.UInt64, st.integers(2**64 - 3, 2**64 - 1)),
    "bool": (pl.Boolean, st.booleans()),
}


def vocabulary(values: list[Any], min_count: int = 1, max_size: int | None = None) -> list[Any]:
    """The values that get ids 3, 4, ..., by the definition."""
    counts = Counter(value for value in values if value is not None)
    kept = sorted((v for v, n in counts.items() if n >= min_count), key=lambda value: (-counts[value], value))
    return kept if max_size is None else kept[: max_size - 3]


def ids(values: list[Any], words: list[Any]) -> list[int]:
    return [1 if value is None else 3 + words.index(value) if value in words else 2 for value in values]


@pytest.mark.parametrize("kind", KEYS)
@given(data=st.data(), min_count=st.integers(1, 3), max_size=st.none() | st.integers(3, 6))
@settings(max_examples=40, deadline=None)
def test_against_a_counter(kind: str, data: Any, min_count: int, max_size: int | None) -> None:
    dtype, element = KEYS[kind]
    seen = data.draw(st.lists(st.none() | element, min_size=1, max_size=12))
    new = data.draw(st.lists(st.none() | element, max_size=8))
    workflow = etl.Workflow(["x"] >> etl.Categorify(min_count=min_count, max_size=max_size))
    workflow.fit(pl.DataFrame({"x": seen}, schema={"x": dtype}))
    words = vocabulary(seen, min_count, max_size)
    got = workflow.transform(pl.DataFrame({"x": new}, schema={"x": dtype})).collect()["x"]
    assert got.dtype == pl.Int32
    assert got.to_list() == ids(new, words)
    column = workflow.output_schema["x"]
    assert column.cardinality == 3 + len(words)
    assert max_size is None or column.cardinality <= max_size


@given(data=st.data(), lazy=st.booleans())
@settings(max_examples=40, deadline=None)
def test_lists_count_their_elements(data: Any, lazy: bool) -> None:
    element = st.sampled_from(["", "a", "b", "c", None])
    rows = data.draw(st.lists(st.none() | st.lists(element, max_size=4), min_size=1, max_size=8))
    new = data.draw(st.lists(st.none() | st.lists(element | st.just("new"), max_size=4), max_size=5))
    schema = {"x": pl.List(pl.String)}
    frame = pl.DataFrame({"x": rows}, schema=schema)
    workflow = etl.Workflow(["x"] >> etl.Categorify()).fit(frame.lazy() if lazy else frame)
    words = vocabulary([value for row in rows for value in row or []])
    expected = [ids(row or [], words) for row in new]
    assert workflow.transform(pl.DataFrame({"x": new}, schema=schema)).collect()["x"].to_list() == expected
    hotness = workflow.output_schema["x"].hotness
    lengths = [len(row or []) for row in rows]
    assert hotness is not None
    assert (hotness.min, hotness.max) == (min(lengths), max(lengths))
    assert hotness.mean == pytest.approx(sum(lengths) / len(lengths))


@given(a=st.lists(st.sampled_from("abc"), min_size=1), b=st.lists(st.lists(st.sampled_from("bcd"))))
@settings(max_examples=40, deadline=None)
def test_columns_share_a_vocabulary(a: list[str], b: list[list[str]]) -> None:
    rows = max(len(a), len(b))
    a, b = a + ["a"] * (rows - len(a)), b + [[]] * (rows - len(b))
    frame = pl.DataFrame({"a": a, "b": b}, schema={"a": pl.String, "b": pl.List(pl.String)})
    workflow = etl.Workflow(["a", "b"] >> etl.Categorify(table="letter")).fit(frame)
    words = vocabulary(a + [value for row in b for value in row])
    got = workflow.transform(frame).collect()
    assert got["a"].to_list() == ids(a, words)
    assert got["b"].to_list() == [ids(row, words) for row in b]
    for column in workflow.output_schema:
        assert (column.table, column.cardinality) == ("letter", 3 + len(words))
    assert workflow.vocabulary("letter").filter(pl.col("id") >= 3)["value"].to_list() == words


def test_schema_and_vocabulary() -> None:
    frame = pl.DataFrame({"x": ["b", "a", None, "b", "c"]})
    workflow = etl.Workflow(["x"] >> etl.Categorify(min_count=2)).fit(frame)
    column = workflow.output_schema["x"]
    assert (column.dtype, column.tags, column.table, column.embedding_dim) == ("int32", (Tag.CATEGORICAL,), "x", 8)
    assert workflow.vocabulary("x").rows() == [(1, None, 1), (2, None, 2), (3, "b", 2)]
    with pytest.raises(KeyError, match="no vocabulary 'y'; available: x"):
        workflow.vocabulary("y")


def test_an_empty_string_is_not_a_null() -> None:
    workflow = etl.Workflow(["x"] >> etl.Categorify()).fit(pl.DataFrame({"x": ["", None, "", "a"]}))
    assert workflow.transform(pl.DataFrame({"x": [None, "", "a"]})).collect()["x"].to_list() == [1, 3, 4]


def test_integers_of_another_width_are_the_same_values() -> None:
    workflow = etl.Workflow(["x"] >> etl.Categorify()).fit(pl.DataFrame({"x": [7, 7, -1]}))
    narrow = pl.DataFrame({"x": [-1, 7, 5]}, schema={"x": pl.Int8})
    assert workflow.transform(narrow).collect()["x"].to_list() == [4, 3, 2]


def test_a_column_of_nulls_only() -> None:
    workflow = etl.Workflow(["x"] >> etl.Categorify()).fit(pl.DataFrame({"x": [None]}, schema={"x": pl.String}))
    assert workflow.output_schema["x"].cardinality == 3
    assert workflow.transform(pl.DataFrame({"x": [None, "a"]})).collect()["x"].to_list() == [1, 2]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="min_count must be an integer >= 1; got 0"):
        etl.Categorify(min_count=0)
    with pytest.raises(ValueError, match="max_size includes the 3 special ids"):
        etl.Categorify(max_size=2)


def test_floats_are_refused() -> None:
    with pytest.raises(SchemaError, match="'x' is float64: Categorify takes strings, integers and booleans"):
        etl.Workflow(["x"] >> etl.Categorify()).fit(pl.DataFrame({"x": [1.0]}))


def test_ids_that_pandas_made_floats_are_categories_as_the_error_says() -> None:
    frame = pl.DataFrame({"x": [7.0, None, 7.0, 2.0]}).to_pandas()
    with pytest.raises(SchemaError, match=r"LambdaOp\(lambda x: x.cast\(pl.Int64\)\) before it, .* df.astype"):
        etl.Workflow(["x"] >> etl.Categorify()).fit(frame)
    cast = etl.Workflow(["x"] >> etl.LambdaOp(lambda x: x.cast(pl.Int64)) >> etl.Categorify())
    own_type = etl.Workflow(["x"] >> etl.Categorify()).fit(frame.astype({"x": "Int64"}))
    ids = own_type.transform(frame.astype({"x": "Int64"})).collect()["x"].to_list()
    assert cast.fit_transform(frame).collect()["x"].to_list() == ids == [3, 1, 3, 4]


def test_types_that_cannot_share_a_vocabulary() -> None:
    with pytest.raises(SchemaError, match="share table 't' must have one type; got 'a' is string, 'b' is int64"):
        etl.Workflow(["a", "b"] >> etl.Categorify(table="t")).fit(pl.DataFrame({"a": ["x"], "b": [1]}))


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_head_counts_lookups(data: Any) -> None:
    """head[j] is the share of lookups, over both columns of the table, that go to the first 2 ** j ids."""
    element = st.none() | st.sampled_from("abcdefgh")
    seen = {name: data.draw(st.lists(element, min_size=9, max_size=9)) for name in ("u", "v")}
    frame = pl.DataFrame(seen, schema={"u": pl.String, "v": pl.String})
    workflow = etl.Workflow(["u", "v"] >> etl.Categorify(min_count=2, table="user"))
    looked_up = workflow.fit(frame).transform(frame).collect()
    ids = [*looked_up["u"], *looked_up["v"]]
    column = workflow.output_schema["u"]
    ends = [1, 2, 4, 8, 16][: (column.cardinality - 1).bit_length() + 1]
    assert column.lookup_cdf == pytest.approx([sum(each < end for each in ids) / len(ids) for end in ends])
    assert workflow.output_schema["v"].lookup_cdf == column.lookup_cdf


def test_no_head_without_lookups() -> None:
    frame = pl.DataFrame({"x": [[]]}, schema={"x": pl.List(pl.String)})
    assert etl.Workflow(["x"] >> etl.Categorify()).fit(frame).output_schema["x"].lookup_cdf is None
