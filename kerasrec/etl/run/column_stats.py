"""Statistics of all columns that fitting needs: numbers of rows and nulls, lengths of lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl

from kerasrec.etl.operator.aggregates import Aggregates
from kerasrec.schema import Column, Hotness


@dataclass(repr=False)
class ColumnStats(Aggregates):
    """Learns the number of rows and nulls of columns and the lengths of lists, and notes them in the schema."""

    of_elements: ClassVar[bool] = False

    def output(self, columns: Sequence[Column]) -> list[Column]:
        return [self._describe(column) if column.name in self.state else column for column in columns]

    def _describe(self, column: Column) -> Column:
        stats = self.state[column.name]
        column = column.evolve(nullable=stats["nulls"] > 0)
        if not column.is_list:
            return column
        mean = stats["elements"] / stats["rows"]
        return column.evolve(hotness=Hotness(stats["shortest"], mean, stats["longest"]))

    def has_rows(self) -> bool:
        """Return whether all columns have rows."""
        return all(stats["rows"] for stats in self.state.values())

    def aggregates(self, x: pl.Expr, column: Column) -> dict[str, pl.Expr]:
        counts = {"rows": pl.len(), "nulls": null_count(x, column)}
        if column.is_list:
            length = x.list.len()
            counts |= {"elements": length.sum(), "shortest": length.min(), "longest": length.max()}
        return {name: count.cast(pl.Int64) for name, count in counts.items()}

    def merged(self, part: Callable[[str], pl.Expr]) -> dict[str, pl.Expr]:
        sums = {name: part(name).sum() for name in ("rows", "nulls", "elements")}
        return sums | {"shortest": part("shortest").min(), "longest": part("longest").max()}

    def learn(self, column: Column, results: Mapping[str, Any]) -> None:
        self.state[column.name] = dict(results)


def null_count(x: pl.Expr, column: Column) -> pl.Expr:
    """Return the number of nulls of a column; of a list column, that of null elements."""
    return (x.list.len() - x.list.drop_nulls().list.len()).sum() if column.is_list else x.null_count()
