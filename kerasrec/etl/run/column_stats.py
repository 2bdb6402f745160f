"""What the engine itself wants to know of columns: rows, nulls, lengths of lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl

from kerasrec.etl.operator.aggregates import Aggregates
from kerasrec.schema import Column, Hotness


@dataclass(repr=False)
class Observe(Aggregates):
    """Learns how many rows and nulls columns hold, and how long their lists are, and notes it in their facts."""

    of_elements: ClassVar[bool] = False

    def output(self, columns: Sequence[Column]) -> list[Column]:
        return [self._noted(column) if column.name in self.facts else column for column in columns]

    def _noted(self, column: Column) -> Column:
        told = self.facts[column.name]
        column = column.evolve(nullable=told["nulls"] > 0)
        if not column.is_list:
            return column
        return column.evolve(hotness=Hotness(told["shortest"], told["elements"] / told["rows"], told["longest"]))

    def aggregates(self, x: pl.Expr, column: Column) -> dict[str, pl.Expr]:
        counts = {"rows": pl.len(), "nulls": nulls(x, column)}
        if column.is_list:
            length = x.list.len()
            counts |= {"elements": length.sum(), "shortest": length.min(), "longest": length.max()}
        return {name: count.cast(pl.Int64) for name, count in counts.items()}

    def merged(self, part: Callable[[str], pl.Expr]) -> dict[str, pl.Expr]:
        sums = {name: part(name).sum() for name in ("rows", "nulls", "elements")}
        return sums | {"shortest": part("shortest").min(), "longest": part("longest").max()}

    def learn(self, column: Column, told: Mapping[str, Any]) -> None:
        self.facts[column.name] = dict(told)


def nulls(x: pl.Expr, column: Column) -> pl.Expr:
    """How many nulls `x` holds; of a list column, how many elements are null."""
    return (x.list.len() - x.list.drop_nulls().list.len()).sum() if column.is_list else x.null_count()
