"""partial -> merge -> finalize over any split of the rows learns what one pass learns."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec import etl
from kerasrec.etl.run.column_stats import ColumnStats
from kerasrec.etl.sources.types import column_type
from kerasrec.schema import Column, Tag

NUMBER = Column("n", "float64")
WORD = Column("w", "string")
KIND = Column("k", "int64")
LIST = Column("l", "int64", (Tag.LIST,))
CASES = {
    "categorify": (lambda: etl.Categorify(min_count=2, max_size=6), [WORD, LIST]),
    "categorify buckets": (lambda: etl.Categorify(min_count=2, num_buckets=3), [WORD, LIST]),
    "categorify combo": (lambda: etl.Categorify(combo=True, num_buckets=2, max_size=8), [WORD, KIND]),
    "normalize": (etl.Normalize, [NUMBER, LIST]),
    "target": (etl.Target, [NUMBER]),
    "fill median": (etl.FillMedian, [NUMBER, LIST]),
    "min max": (etl.NormalizeMinMax, [NUMBER, LIST]),
    "value count": (etl.ValueCount, [LIST]),
    "observe": (ColumnStats, [NUMBER, WORD, LIST]),
}
ROW = st.tuples(
    st.none() | st.integers(-1, 3).map(float),
    st.none() | st.sampled_from("abcde"),
    st.lists(st.none() | st.integers(0, 4), max_size=3),
    st.none() | st.integers(0, 2),
)


def frame(rows: list[Any]) -> pl.DataFrame:
    schema = {"n": pl.Float64, "w": pl.String, "l": pl.List(pl.Int64), "k": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


@pytest.mark.parametrize("case", CASES)
@given(rows=st.lists(ROW, min_size=1, max_size=24), cuts=st.lists(st.integers(0, 24), max_size=4))
@settings(max_examples=40, deadline=None)
def test_any_split(case: str, rows: list[Any], cuts: list[int]) -> None:
    make, columns = CASES[case]
    rows = [(0.0, "a", [1], 0), *rows]
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})

    def partial(some: list[Any]) -> list[pl.DataFrame]:
        return [query.collect() for query in make().partial(frame(some).lazy(), columns)]

    nothing = partial([])  # machines that have no rows
    parts = [nothing, nothing, *(partial(rows[a:b]) for a, b in itertools.pairwise(edges)), nothing]
    whole, flat, nested = make(), make(), make()
    whole.finalize(whole.merge([partial(rows)]), columns)
    flat.finalize(flat.merge(parts), columns)
    merged = parts[0]
    for part in parts[1:]:
        merged = nested.merge([merged, part])
    nested.finalize(merged, columns)
    for split in (flat, nested):
        assert split.frames.keys() == whole.frames.keys()
        assert all(split.frames[name].equals(whole.frames[name]) for name in whole.frames)
        assert split.state.keys() == whole.state.keys()
        for name, facts in whole.state.items():
            assert split.state[name] == pytest.approx(facts, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("count", [50, 500])
def test_queries_are_over_the_columns_that_they_read(count: int) -> None:
    """So that a fit takes time in proportion to the columns: each is in the frames of few queries."""
    numbers = [Column(f"n{i}", "float64") for i in range(count)]
    words = [Column(f"w{i}", "string") for i in range(count)]
    lists = [Column(f"l{i}", "int64", (Tag.LIST,)) for i in range(count)]
    names = [column.name for column in words]
    target = ["y", "fold"]
    keyed = [names >> etl.JoinGroupby("y", stats="mean"), names >> etl.TargetEncoding("y", fold="fold")]
    cases: list[tuple[etl.Operator, list[Column]]] = [
        (etl.Categorify(), words),
        (etl.Normalize(), numbers + lists),
        (etl.NormalizeMinMax(), numbers),
        (etl.FillMedian(), numbers),
        (etl.ValueCount(), lists),
        (ColumnStats(), numbers + words + lists),
        *((node.op, [*words, Column("y", "float64"), Column("fold", "int64")]) for node in keyed if node.op),
    ]
    for op, columns in cases:
        asked: list[str] = []

        def take(names: Sequence[str], asked: list[str] = asked, columns: list[Column] = columns) -> pl.LazyFrame:
            asked += names
            known = {column.name: column for column in columns}
            return pl.LazyFrame(schema={name: column_type(known[name]) for name in names})

        op.queries(take, columns)
        once = [name for name in asked if name not in target]
        assert sorted(once) == sorted(c.name for c in columns if c.name not in target), op
