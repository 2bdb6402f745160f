"""What is seen of a table's columns in a sample of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from kerasrec.cli.errors import Refused

SAMPLE_ROWS = 1_000_000


@dataclass(frozen=True)
class Facts:
    """One column's facts; of a list column, its elements'.

    `seen` counts the values that are not null, `distinct` the different ones among them. The numbers' facts are
    None where there are no numbers.
    """

    name: str
    dtype: Any
    nulls: int = 0
    seen: int = 0
    distinct: int = 0
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    skew: float | None = None

    @property
    def is_list(self) -> bool:
        return isinstance(self.dtype, pl.List | pl.Array)

    @property
    def kind(self) -> Any:
        """The dtype of a value, or of a list's elements."""
        return self.dtype.inner if self.is_list else self.dtype


def look(data: pl.LazyFrame) -> tuple[int, list[Facts]]:
    """How many rows there are, and every column's facts from up to a million rows spread evenly over them.

    Raises `Refused` where there are no rows.
    """
    rows = data.select(pl.len()).collect(engine="streaming").item()
    if not rows:
        raise Refused("the data has no rows")
    sample = data.gather_every(-(-rows // SAMPLE_ROWS)).collect(engine="streaming")
    return rows, [_facts(sample[name]) for name in sample.columns]


def _facts(column: pl.Series) -> Facts:
    name, dtype = column.name, column.dtype
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if isinstance(column.dtype, pl.List):
        column = column.filter(column.list.len() > 0).explode()
    if column.dtype.is_float():
        column = column.fill_nan(None)
    nulls, values = column.null_count(), column.drop_nulls()
    if column.dtype.is_nested() or not len(values):
        return Facts(name, dtype, nulls, len(values))
    distinct = values.n_unique()
    if not column.dtype.is_numeric():
        return Facts(name, dtype, nulls, len(values), distinct)
    wide = values.cast(pl.Float64)
    numbers = (None if value is None else float(value) for value in _moments(wide))
    return Facts(name, dtype, nulls, len(values), distinct, *numbers)


def _moments(values: pl.Series) -> tuple[Any, Any, Any, Any]:
    return values.min(), values.max(), values.mean(), values.skew()
