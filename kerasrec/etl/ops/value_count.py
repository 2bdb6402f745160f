"""ValueCount: how many elements lists hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from kerasrec.etl.operator.aggregates import Aggregates
from kerasrec.schema import Column, Hotness, SchemaError

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class ValueCount(Aggregates):
    """Learns the least, the mean and the greatest number of elements of list columns and notes them in the schema,
    as `hotness`; values stay as they are.

    Raw list columns are counted in any case, so this is for lists whose lengths an operator changed. NVTabular's
    `ValueCount` notes the least and the greatest only.

    Raises (when fitted):
        SchemaError: a column that holds no lists.

    Example:

    >>> recent = ["history"] >> ListSlice(-20) >> ValueCount()
    """

    of_elements: ClassVar[bool] = False

    def output(self, columns: Sequence[Column]) -> list[Column]:
        for column in columns:
            if not column.is_list:
                raise SchemaError(f"column {column.name!r} is {column.dtype}: ValueCount takes columns of lists")
        return [
            column.evolve(hotness=Hotness(**self.facts[column.name])) if column.name in self.facts else column
            for column in columns
        ]

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        return list(values)

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        return list

    # ---- learning --------------------------------------------------------------------------------------------
    def aggregates(self, x: pl.Expr, column: Column) -> dict[str, pl.Expr]:
        length = x.list.len().cast(pl.Int64)
        rows = length.len().cast(pl.Int64)
        return {"rows": rows, "total": length.sum(), "min": length.min(), "max": length.max()}

    def merged(self, part: Callable[[str], pl.Expr]) -> dict[str, pl.Expr]:
        sums = {name: part(name).sum() for name in ("rows", "total")}
        return sums | {"min": part("min").min(), "max": part("max").max()}

    def learn(self, column: Column, told: Mapping[str, Any]) -> None:
        mean = told["total"] / max(told["rows"], 1)
        self.facts[column.name] = {"min": told["min"] or 0, "mean": mean, "max": told["max"] or 0}
