"""ValueCount: counts the elements of lists."""

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
    """Learn the least, the mean and the greatest length of list columns, and note them in the schema as `hotness`.

    Values and dtypes stay the same. Raw list columns are always counted, so this is for lists whose length an
    operator changed. NVTabular's `ValueCount` notes the least and the greatest length only.

    Raises:
        SchemaError: (in fit) a column that is not one of lists.

    Example:

    >>> recent = ["history"] >> ListSlice(-20) >> ValueCount()
    """

    of_elements: ClassVar[bool] = False

    def output(self, columns: Sequence[Column]) -> list[Column]:
        for column in columns:
            if not column.is_list:
                raise SchemaError(f"column {column.name!r} is {column.dtype}: ValueCount takes list columns")
        return [
            column.evolve(hotness=Hotness(**self.state[column.name])) if column.name in self.state else column
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

    def learn(self, column: Column, results: Mapping[str, Any]) -> None:
        mean = results["total"] / max(results["rows"], 1)
        self.state[column.name] = {"min": results["min"] or 0, "mean": mean, "max": results["max"] or 0}
