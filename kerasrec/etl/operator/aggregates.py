"""Operators that learn a few numbers per column."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import polars as pl

from kerasrec.etl.operator.elementwise import elements
from kerasrec.etl.operator.operator import Operator, SelectColumns
from kerasrec.schema import Column

COLUMNS_PER_QUERY = 4  # many share the overhead of a query, few bound its memory


class Aggregates(Operator):
    """Base of operators that learn from aggregations of each column.

    Statistics are frames of one row whose columns are named "aggregation:column".
    """

    stateful: ClassVar[bool] = True
    of_elements: ClassVar[bool] = True  # whether to aggregate the elements of a list column, not its lists

    def aggregates(self, x: pl.Expr, column: Column) -> dict[str, pl.Expr]:
        """Return the aggregations of `x`: the elements of `column`, or its lists where not `of_elements`."""
        raise NotImplementedError

    def merged(self, part: Callable[[str], pl.Expr]) -> dict[str, pl.Expr]:
        """Return the aggregations of all data; `part("sum")` is an expression of the sums of its parts."""
        raise NotImplementedError

    def learn(self, column: Column, results: Mapping[str, Any]) -> None:
        """Set `state` from the aggregations of all data."""
        raise NotImplementedError

    def queries(self, select: SelectColumns, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        queries = []
        for first in range(0, len(columns), COLUMNS_PER_QUERY):
            group = columns[first : first + COLUMNS_PER_QUERY]
            queries += self.partial(select([column.name for column in group]), group)
        return queries

    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        lists = [column for column in columns if column.is_list and self.of_elements]
        others = [column for column in columns if column not in lists]
        queries = [frame.select(e for column in others for e in self._aggregations(column))] if others else []
        return queries + [elements(frame, column).select(self._aggregations(column)) for column in lists]

    def _aggregations(self, column: Column) -> list[pl.Expr]:
        by_name = self.aggregates(pl.col(column.name), column)
        return [x.alias(f"{aggregation}:{column.name}") for aggregation, x in by_name.items()]

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        return [self._merge_query(frames) for frames in zip(*parts, strict=True)]

    def _merge_query(self, frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
        if len(frames) == 1:
            return frames[0]
        present = set(frames[0].columns)
        expressions = []
        for name in dict.fromkeys(column.partition(":")[2] for column in frames[0].columns):
            merged = self.merged(lambda aggregation, name=name: pl.col(f"{aggregation}:{name}"))  # type: ignore[misc]
            by_column = {f"{aggregation}:{name}": x for aggregation, x in merged.items()}
            expressions += [x.alias(column) for column, x in by_column.items() if column in present]
        return pl.concat(frames).select(expressions)

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        results: dict[str, dict[str, Any]] = defaultdict(dict)
        for frame in statistics:
            for key, value in frame.row(0, named=True).items():
                aggregation, _, name = key.partition(":")
                results[name][aggregation] = value
        for column in columns:
            self.learn(column, results[column.name])
