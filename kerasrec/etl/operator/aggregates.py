"""Operators that learn a few numbers of each column."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import polars as pl

from kerasrec.etl.operator.elementwise import elements
from kerasrec.etl.operator.operator import Operator, Take
from kerasrec.schema import Column

TOGETHER = 4  # columns that a query aggregates: many share its overhead, few bound the memory


class Aggregates(Operator):
    """Base of operators that learn what aggregations of a column make.

    Statistics are frames of one row whose columns are named "aggregation:column".
    """

    stateful: ClassVar[bool] = True
    of_elements: ClassVar[bool] = True  # whether a list column's elements are aggregated, and not its lists

    def aggregates(self, x: pl.Expr, column: Column) -> dict[str, pl.Expr]:
        """The aggregations of `x`, which are elements of `column`, or the column where not `of_elements`."""
        raise NotImplementedError

    def merged(self, part: Callable[[str], pl.Expr]) -> dict[str, pl.Expr]:
        """The aggregations of all the data, given an expression of what each of them made of its parts."""
        raise NotImplementedError

    def learn(self, column: Column, told: Mapping[str, Any]) -> None:
        """Note what the aggregations made of the whole data."""
        raise NotImplementedError

    def queries(self, take: Take, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        made = []
        for first in range(0, len(columns), TOGETHER):
            some = columns[first : first + TOGETHER]
            made += self.partial(take([column.name for column in some]), some)
        return made

    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        lists = [column for column in columns if column.is_list and self.of_elements]
        others = [column for column in columns if column not in lists]
        made = [frame.select(e for column in others for e in self._aggregated(column))] if others else []
        return made + [elements(frame, column).select(self._aggregated(column)) for column in lists]

    def _aggregated(self, column: Column) -> list[pl.Expr]:
        made = self.aggregates(pl.col(column.name), column)
        return [x.alias(f"{aggregation}:{column.name}") for aggregation, x in made.items()]

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        return [self._merged(frames) for frames in zip(*parts, strict=True)]

    def _merged(self, frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
        if len(frames) == 1:
            return frames[0]
        known = set(frames[0].columns)
        made = []
        for name in dict.fromkeys(column.partition(":")[2] for column in frames[0].columns):
            merged = self.merged(lambda aggregation, name=name: pl.col(f"{aggregation}:{name}"))  # type: ignore[misc]
            some = {f"{aggregation}:{name}": x for aggregation, x in merged.items()}
            made += [x.alias(column) for column, x in some.items() if column in known]
        return pl.concat(frames).select(made)

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        told: dict[str, dict[str, Any]] = defaultdict(dict)
        for frame in statistics:
            for key, value in frame.row(0, named=True).items():
                aggregation, _, name = key.partition(":")
                told[name][aggregation] = value
        for column in columns:
            self.learn(column, told[column.name])
