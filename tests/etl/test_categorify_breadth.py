"""Categorify's combinations, buckets, given vocabularies and settings by column, against plain Python."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from fitted_tables import ELEMENTS, run_both
from hypothesis import given, settings
from hypothesis import strategies as st
from test_hashing import splitmix64

from kerasrec import etl
from kerasrec.schema import SchemaError, Tag

FEW = st.none() | st.integers(-2, 2)


# ---- combinations --------------------------------------------------------------------------------
def order(value: Any) -> tuple[bool, Any]:
    return (value is not None, value)


@given(
    seen=st.lists(st.tuples(FEW, st.none() | st.sampled_from(["", "a", "1,", "2:a"])), min_size=1, max_size=15),
    new=st.lists(st.tuples(FEW, st.none() | st.sampled_from(["", "a", ",", "1"])), max_size=8),
    min_count=st.integers(1, 2),
)
@settings(max_examples=25, deadline=None)
def test_combinations_against_a_counter(seen: list[Any], new: list[Any], min_count: int) -> None:
    schema = {"a": pl.Int64, "b": pl.String}
    workflow = etl.Workflow(["a", "b"] >> etl.Categorify(min_count=min_count, combo=True))
    workflow.fit(pl.DataFrame(seen, schema=schema, orient="row"))
    counts = Counter(row for row in seen if row != (None, None))
    words = sorted(
        (row for row, count in counts.items() if count >= min_count),
        key=lambda row: (-counts[row], order(row[0]), order(row[1])),
    )
    vocabulary = workflow.vocabulary("a_b")
    assert [tuple(value.values()) for value in vocabulary["value"][2:]] == words
    assert vocabulary["count"].sum() == len(seen)
    for rows in (seen, new):
        got = workflow.transform(pl.DataFrame(rows, schema=schema, orient="row")).collect()
        expected = [1 if r == (None, None) else 3 + words.index(r) if r in words else 2 for r in rows]
        assert got.columns == ["a_b"]
        assert got["a_b"].to_list() == expected
    assert workflow.output_schema["a_b"].cardinality == 3 + len(words)


@pytest.mark.parametrize("kinds", [("string", "int8"), ("uint64", "string", "bool")])
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_combinations_are_the_same_in_both_implementations(kinds: tuple[str, ...], data: Any) -> None:
    row = st.tuples(*(st.none() | ELEMENTS[kind] for kind in kinds))
    seen, new = data.draw(st.lists(row, min_size=1, max_size=6)), data.draw(st.lists(row, max_size=4))
    seen += [tuple(None for _ in kinds), tuple(data.draw(ELEMENTS[kind]) for kind in kinds)]
    names = list("abc"[: len(kinds)])
    root = names >> etl.Categorify(combo=True, num_buckets=data.draw(st.sampled_from([0, 5])), max_size=10)
    _, polars, tensors = run_both(root, names, kinds, seen, [*seen, *new])
    assert polars["_".join(names)].to_list() == tensors["_".join(names)].tolist()


def test_combinations_are_pandas_groups_and_are_saved(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    frame = pl.DataFrame({"city": random.integers(0, 40, 4000), "kind": random.choice(list("uvwxyz"), 4000)})
    users = ["city", "kind"] >> etl.AddTags("user")
    workflow = etl.Workflow(users >> etl.Categorify(combo=True, table="place")).fit(frame.lazy())
    rows = workflow.transform(frame).collect()
    sizes = frame.to_pandas().groupby(["city", "kind"]).size()
    assert workflow.output_schema["city_kind"].cardinality == 3 + len(sizes)
    got = pd.DataFrame({"id": rows["city_kind"], "city": frame["city"], "kind": frame["kind"]})
    assert (got.groupby("id").size().sort_index().to_numpy() == np.sort(sizes.to_numpy())[::-1]).all()
    assert (got.groupby("id")[["city", "kind"]].nunique() == 1).all(axis=None)
    column = workflow.output_schema["city_kind"]
    assert (column.table, set(column.tags)) == ("place", {Tag.CATEGORICAL, Tag.USER})
    workflow.save(tmp_path / "w")
    again = etl.Workflow.load(tmp_path / "w")
    assert again.transform(frame).collect().equals(rows)
    assert again.vocabulary("place").equals(workflow.vocabulary("place"))
    assert again.transform(frame.head(0)).collect().is_empty()


# ---- buckets -------------------------------------------------------------------------------------
@given(
    seen=st.lists(st.none() | st.integers(-4, 4), min_size=1, max_size=15),
    new=st.lists(st.none() | st.integers(-9, 9), max_size=8),
    buckets=st.integers(1, 4),
)
@settings(max_examples=25, deadline=None)
def test_buckets_follow_the_vocabulary(seen: list[Any], new: list[Any], buckets: int) -> None:
    op = etl.Categorify(min_count=2, max_size=3 + 2 + buckets, num_buckets=buckets)
    frame = pl.DataFrame({"x": seen}, schema={"x": pl.Int64})
    workflow = etl.Workflow(["x"] >> op).fit(frame)
    counts = Counter(value for value in seen if value is not None)
    words = sorted((v for v, n in counts.items() if n >= 2), key=lambda v: (-counts[v], v))[:2]

    def encode(value: int | None) -> int:
        if value is None:
            return 1
        bucket = splitmix64(value % 2**64) % buckets
        return 3 + (words.index(value) if value in words else len(words) + bucket)

    for values in (seen, new):
        rows = workflow.transform(pl.DataFrame({"x": values}, schema={"x": pl.Int64})).collect()
        assert rows["x"].to_list() == [encode(value) for value in values]
    column = workflow.output_schema["x"]
    assert column.cardinality == 3 + len(words) + buckets
    told = Counter(encode(value) for value in seen)
    vocabulary = workflow.vocabulary("x")
    assert vocabulary["count"].to_list() == [told[i] for i in range(1, column.cardinality)]
    assert vocabulary["value"].to_list() == [None, None, *words, *[None] * buckets]


def test_buckets_are_saved(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": ["a", "a", "b", "c", None], "l": [["u", "v"], ["u"], None, [], [None]]})
    workflow = etl.Workflow(["x", "l"] >> etl.Categorify(min_count=2, num_buckets={"x": 4})).fit(frame)
    workflow.save(tmp_path / "w")
    again = etl.Workflow.load(tmp_path / "w")
    new = pl.DataFrame({"x": ["a", "zz", "b", None], "l": [["w"], [], ["u", None], None]})
    assert again.transform(new).collect().equals(workflow.transform(new).collect())
    assert [column.cardinality for column in again.output_schema] == [8, 4]
    assert again.transform(new).collect()["l"].to_list() == [[2], [], [3, 1], []]


# ---- given vocabularies --------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [list, pl.Series, pd.Series, np.array])
def test_a_given_vocabulary(kind: Any, tmp_path: Path) -> None:
    words = kind(["c", "a", "never"])
    frame = pl.DataFrame({"x": ["a", "a", "b", "c", None], "y": [1, 1, 2, 3, 3]})
    workflow = etl.Workflow(["x", "y"] >> etl.Categorify(vocabs={"x": words})).fit(frame)
    rows = workflow.transform(frame).collect()
    assert rows["x"].to_list() == [4, 4, 2, 3, 1]
    assert rows["y"].to_list() == [3, 3, 5, 4, 4]
    told = [(1, None, 1), (2, None, 1), (3, "c", 1), (4, "a", 2), (5, "never", 0)]
    assert workflow.vocabulary("x").rows() == told
    workflow.save(tmp_path / "w")
    again = etl.Workflow.load(tmp_path / "w")
    assert again.transform(frame).collect().equals(rows)
    assert again.fit(frame).vocabulary("x").rows() == told


def test_given_combinations_shared_tables_and_buckets() -> None:
    frame = pl.DataFrame({"a": [1, 2, None], "b": ["x", "y", "x"]})
    combo = etl.Categorify(combo=True, vocabs={"a_b": [(2, "y"), (None, "x")]}, num_buckets=1)
    rows = etl.Workflow(["a", "b"] >> combo).fit_transform(frame).collect()
    assert rows["a_b"].to_list() == [5, 3, 4]
    lists = pl.DataFrame({"u": [7, 8], "v": [[8, 9], []]})
    shared = etl.Workflow(["u", "v"] >> etl.Categorify(table="t", vocabs={"t": [9, 8]}))
    assert shared.fit_transform(lists).collect().rows() == [(2, [4, 3]), (4, [])]


def test_settings_by_column() -> None:
    frame = pl.DataFrame({"x": ["a", "a", "b"], "y": ["a", "a", "b"], "z": ["a", "a", "b"]})
    op = etl.Categorify(min_count={"x": 2}, max_size={"y": 3})
    schema = etl.Workflow(["x", "y", "z"] >> op).fit(frame).output_schema
    assert [column.cardinality for column in schema] == [4, 3, 5]


# ---- what is refused -----------------------------------------------------------------------------
def test_bad_arguments() -> None:
    for wrong, message in [
        ({"min_count": {"x": 0}}, "min_count must be an integer >= 1; got 0"),
        ({"max_size": {"x": 2}}, "max_size includes the 3 special ids; got 2"),
        ({"num_buckets": -1}, "num_buckets must be an integer >= 0; got -1"),
        ({"vocabs": {"x": ["a", "a"]}}, "'x' must have distinct values and no null"),
        ({"vocabs": {"x": [None]}}, "'x' must have distinct values and no null"),
    ]:
        with pytest.raises(ValueError, match=message):
            etl.Categorify(**wrong)
    for wrong, message in [
        ({"min_count": {"z": 2}}, r"Categorify: min_count: no column 'z'; available: x, y"),
        ({"max_size": 6, "num_buckets": 4}, "max_size of 'x' must be at least num_buckets . 3"),
        ({"vocabs": {"x": []}, "combo": True}, r"vocabs: no column 'x'; available: x_y"),
    ]:
        with pytest.raises(ValueError, match=message):
            ["x", "y"] >> etl.Categorify(**wrong)
    with pytest.raises(ValueError, match="combines two columns or more"):
        ["x"] >> etl.Categorify(combo=True)


def test_bad_columns() -> None:
    frame = pl.DataFrame({"x": ["a"], "f": [1.0], "l": [["a"]], "i": pl.Series([1], dtype=pl.Int8)})
    for names, op, message in [
        (["x", "f"], etl.Categorify(combo=True), "'f' is float64: Categorify takes strings"),
        (
            ["x", "l"],
            etl.Categorify(combo=True),
            r"'l' has lists; Categorify\(combo=True\) takes one value per row",
        ),
        (["i"], etl.Categorify(vocabs={"i": ["a"]}), "vocabs: values for 'i' must be of type Int8"),
        (["i"], etl.Categorify(vocabs={"i": [1000]}), "vocabs: values for 'i' must be of type Int8"),
        (["x"], etl.Categorify(vocabs={"x": [1]}), "vocabs: values for 'x' must be of type String"),
    ]:
        with pytest.raises(SchemaError, match=message):
            etl.Workflow(names >> op).fit(frame)


def test_a_long_vocabulary_is_not_all_shown() -> None:
    assert len(repr(["x"] >> etl.Categorify(vocabs={"x": [str(i) for i in range(10_000)]}))) < 300
