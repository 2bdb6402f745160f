"""Filter: keeps the rows for which a condition is true."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from kerasrec.etl.operator import user_expressions
from kerasrec.etl.operator.row_operators import RowFilter
from kerasrec.etl.sources.types import column_type
from kerasrec.schema import Column

Condition = pl.Expr | Callable[[Mapping[str, pl.Expr]], pl.Expr]


@dataclass(repr=False)
class Filter(RowFilter):
    """Keep the rows for which `f` is true; drop those for which it is false or null.

    The row is dropped from every output that is combined with these columns. Later operators learn from the
    remaining rows, earlier ones from all. Values, dtypes and tags stay the same. Served rows, and those of
    `transform(..., targets=False)`, are never dropped.

    `f` reads the columns as the operators before made them. It may read several rows: `pl.len().over("user") >= 5`
    keeps users with five rows or more. Polars then holds the columns that it reads in memory; otherwise rows are
    streamed.

    NVTabular's `Filter` takes a function of a frame: one like `lambda df: df["price"] > 0` works here unchanged,
    one that returns a frame does not.

    Args:
        f: a Polars expression over the columns by name, or a function from {name: expression} to one.

    Raises:
        TypeError: `f` is neither.
        ValueError: `f` reads a column that is not before `>>`; (in `Workflow.save`) it calls a Python function.

    Example:

    >>> good = ["user", "item", "price"] >> Filter(pl.col("price") > 0)
    >>> active = ["user", "item"] >> Filter(lambda c: pl.len().over(c["user"]) >= 5)
    """

    f: Condition

    def __post_init__(self) -> None:
        if isinstance(self.f, Mapping):
            self.f = user_expressions.from_json(self.f)
        if not isinstance(self.f, pl.Expr) and not callable(self.f):
            raise TypeError(f"Filter takes a Polars expression or a function that returns one; got {self.f!r}")

    def output_names(self, names: list[str]) -> list[str]:
        # Called as soon as the names are known; from here on the condition is an expression.
        condition = self.f if isinstance(self.f, pl.Expr) else self.f({name: pl.col(name) for name in names})
        self.f = user_expressions.check(condition, names, "Filter")
        return list(names)

    @property
    def settings(self) -> dict[str, Any]:
        return {"f": user_expressions.to_json(self._condition())}

    def __repr__(self) -> str:
        return f"Filter({self.f})"

    def predicate(self, columns: Sequence[Column]) -> pl.Expr:
        return self._condition()

    def rowwise(self, columns: Sequence[Column]) -> bool:
        return user_expressions.is_rowwise(self._condition(), {c.name: column_type(c) for c in columns})

    def _condition(self) -> pl.Expr:
        assert isinstance(self.f, pl.Expr)
        return self.f
