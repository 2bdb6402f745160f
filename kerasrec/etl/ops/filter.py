"""Filter: the rows that a condition holds for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from kerasrec.etl.operator import user_expressions
from kerasrec.etl.operator.row_operators import KeepsRows
from kerasrec.etl.sources.types import column_type
from kerasrec.schema import Column

Condition = pl.Expr | Callable[[Mapping[str, pl.Expr]], pl.Expr]


@dataclass(repr=False)
class Filter(KeepsRows):
    """Keeps the rows for which `f` is true; where it is false or null, the row is dropped.

    The row is dropped from every output that is united with these columns. Operators behind learn from the kept
    rows only, those before from all. Values, types and tags stay as they are. Served rows, and those of
    `transform(..., targets=False)`, are never dropped.

    `f` sees the columns as they come in here, after the operators before. It may look at several rows, for
    instance `pl.len().over("user") >= 5` keeps users with five rows or more; Polars then holds the columns that it
    reads in memory, otherwise rows stream.

    Args:
        f: a Polars expression over the columns by name, or a function that makes one of {name: expression}.

    Raises:
        TypeError: `f` is neither.
        ValueError: it reads a column that it is not given; or, when the workflow is saved, it calls a Python
            function.

    NVTabular's `Filter` takes a function of a frame: `lambda df: df["price"] > 0` works here as it stands, one
    that returns a frame does not.

    Example:

    >>> good = ["user", "item", "price"] >> Filter(pl.col("price") > 0)
    >>> active = ["user", "item"] >> Filter(lambda c: pl.len().over(c["user"]) >= 5)
    """

    f: Condition

    def __post_init__(self) -> None:
        if isinstance(self.f, Mapping):
            self.f = user_expressions.from_json(self.f)
        if not isinstance(self.f, pl.Expr) and not callable(self.f):
            raise TypeError(f"Filter takes a Polars expression, or a function that makes one, not {self.f!r}")

    def output_names(self, names: list[str]) -> list[str]:
        # The first time that the names are known: from here on the condition is an expression.
        made = self.f if isinstance(self.f, pl.Expr) else self.f({name: pl.col(name) for name in names})
        self.f = user_expressions.check(made, names, "Filter")
        return list(names)

    @property
    def settings(self) -> dict[str, Any]:
        return {"f": user_expressions.to_json(self._condition())}

    def __repr__(self) -> str:
        return f"Filter({self.f})"

    def keeps(self, columns: Sequence[Column]) -> pl.Expr:
        return self._condition()

    def rowwise(self, columns: Sequence[Column]) -> bool:
        return user_expressions.is_rowwise(self._condition(), {c.name: column_type(c) for c in columns})

    def _condition(self) -> pl.Expr:
        assert isinstance(self.f, pl.Expr)
        return self.f
