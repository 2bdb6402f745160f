"""Groupby: makes one row per user, session or other key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl

from kerasrec.etl.operator.row_operators import RowMaker
from kerasrec.etl.operator.settings import as_tuple, check_names
from kerasrec.etl.sources.types import ROW, column_type, is_float, to_polars
from kerasrec.schema import Column, SchemaError, Tag
from kerasrec.tags import inherited_tags

ORDERED = ("list", "first", "last")
AGGREGATIONS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "list": lambda x: x,
    "first": pl.Expr.first,
    "last": pl.Expr.last,
    "count": pl.Expr.count,
    "nunique": lambda x: x.drop_nulls().n_unique(),
    "sum": pl.Expr.sum,
    "mean": pl.Expr.mean,
    "median": pl.Expr.median,
    "std": pl.Expr.std,
    "var": pl.Expr.var,
    "min": pl.Expr.min,
    "max": pl.Expr.max,
}
COUNTS = ("count", "nunique")
NUMERIC = ("sum", "mean", "median", "std", "var")


@dataclass(repr=False)
class Groupby(RowMaker):
    """Make one row of all rows with the same key: a session of its events, a user of all her interactions.

    The outputs are the key columns, by which the rows are sorted, and for every other column X and each of its
    aggregations a column `X_list`, `X_first`, ..., as in NVTabular:

    - "list": the values in the order of `sort_cols`, then of the rows; so lists of one row are aligned. Nulls
      stay, and tags, vocabulary and table of an id column are kept.
    - "first", "last": by ascending `sort_cols`, whatever `ascending` is; null where that value is null.
    - "count", "nunique": of the values that are not null, int32.
    - "sum" (0 where all values are null), "min" and "max": in the column's dtype, sums as int64, uint64 or
      float64.
    - "mean", "median", "std", "var": float64; the last two of a sample (n - 1), so null for one value: add
      `FillMissing`.

    `ListSlice`, `ValueCount`, `Categorify` and `Filter` may follow. Categorify before Groupby is faster than
    after, and learns the same. A Filter before drops events, one after drops groups.

    Groups are complete, in whatever files their rows are; NVTabular's `Groupby` groups each partition separately,
    so data must be shuffled by key before, and does not define the order of ties. As there, rows with a null key
    belong to no group (`FillMissing` puts them into one), and nulls in `sort_cols` come last.

    For lists, first and last, the columns are sorted in memory, which takes twice their size. Other aggregations
    need memory only for the groups. CSV files are read again for each operator that is fitted after this one. A
    served model predicts row by row, so it cannot have this operator: make the groups with `etl.compute`, and fit
    a workflow on them, or one that adds them with `JoinExternal` (docs/etl.md).

    Args:
        groupby_cols: the key column, or several.
        sort_cols: the columns that order the rows of a group.
        aggs: an aggregation or several for every column that is not a key; or a dict by column, which leaves out
            the columns that it does not have.
        name_sep: joins the names of a column and its aggregation.
        ascending: whether lists are in ascending order of `sort_cols`.

    Raises:
        ValueError: an unknown column or aggregation, or no aggregation.
        SchemaError: (in fit) a list column as a key, or to sort by, collect or sum; strings to sum; a target to
            collect into lists.

    Example: sessions with the last 20 items of each.

    >>> items = ["item_id"] >> Categorify()
    >>> sessions = items + ["session_id", "timestamp", "price"] >> Groupby(
    ...     groupby_cols="session_id",
    ...     sort_cols="timestamp",
    ...     aggs={"item_id": ["list", "count"], "price": "mean", "timestamp": "first"},
    ...     name_sep="-",
    ... )
    >>> long = sessions >> Filter(pl.col("item_id-count") >= 2)
    >>> workflow = Workflow((long["item_id-list"] >> ListSlice(-20) >> ValueCount()) + long["price-mean"])
    """

    needs_row_numbers: ClassVar[bool] = True
    groupby_cols: str | Sequence[str]
    sort_cols: str | Sequence[str] = ()
    aggs: str | Sequence[str] | Mapping[str, str | Sequence[str]] = "list"
    name_sep: str = "_"
    ascending: bool = True

    def __post_init__(self) -> None:
        self.groupby_cols, self.sort_cols = as_tuple(self.groupby_cols), as_tuple(self.sort_cols)
        if not self.groupby_cols:
            raise ValueError("Groupby: groupby_cols must have at least one column")
        if isinstance(self.aggs, Mapping):
            self.aggs = {
                name: _check_aggregations(aggs, f" of column {name!r}") for name, aggs in self.aggs.items()
            }
        else:
            self.aggs = _check_aggregations(self.aggs, "")

    # ---- names -----------------------------------------------------------------------------------------------
    def output_names(self, names: list[str]) -> list[str]:
        for argument, columns in (("groupby_cols", self.groupby_cols), ("sort_cols", self.sort_cols)):
            check_names("Groupby", argument, dict.fromkeys(columns), names)
        check_names("Groupby", "aggs", self.aggs, [name for name in names if name not in self.groupby_cols])
        outputs = [self._name(name, agg) for name, agg in self._aggregations(names)]
        if not outputs:
            raise ValueError(f"Groupby: no column to aggregate besides the keys; available: {', '.join(names)}")
        return [*self.groupby_cols, *outputs]

    def _aggregations(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Return the column and the aggregation of each output that is not a key."""
        aggs = self.aggs if isinstance(self.aggs, Mapping) else dict.fromkeys(names, self.aggs)
        return [(name, agg) for name in names if name not in self.groupby_cols for agg in aggs.get(name, ())]

    def _name(self, name: str, agg: str) -> str:
        return f"{name}{self.name_sep}{agg}"

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        sources = {key: list(self.groupby_cols) for key in self.groupby_cols}
        for name, agg in self._aggregations(names):
            ordered = self.sort_cols if agg in ORDERED else ()
            sources[self._name(name, agg)] = list(dict.fromkeys([*self.groupby_cols, name, *ordered]))
        return sources

    def row_inputs(self, names: list[str]) -> list[str]:
        return list(self.groupby_cols)

    # ---- rows ------------------------------------------------------------------------------------------------
    def output(self, columns: Sequence[Column]) -> list[Column]:
        by_name = {column.name: column for column in columns}
        keys = [name for name in self.groupby_cols if name in by_name]
        for name in [*keys, *(name for name in self.sort_cols if name in by_name)]:
            if by_name[name].is_list:
                raise SchemaError(f"column {name!r} has lists; Groupby cannot group or sort by lists")
        aggregated = [self._column(by_name[name], agg) for name, agg in self._aggregations(list(by_name))]
        return [*(by_name[name].evolve(nullable=False, lookup_cdf=None) for name in keys), *aggregated]

    def _column(self, column: Column, agg: str) -> Column:
        name = self._name(column.name, agg)
        if column.is_list and agg not in ("first", "last", "count"):
            raise SchemaError(f"column {column.name!r} has lists: Groupby cannot compute {name!r} of them")
        if agg == "list":
            if Tag.TARGET in column.tags:
                raise SchemaError(
                    f"column {column.name!r} is a target, and a list such as {name!r} cannot be one: aggregate it "
                    "with 'last' or 'max', or leave out Target to make it a feature"
                )
            return column.evolve(name=name, add_tags=[Tag.LIST], hotness=None)
        if agg in ("first", "last", "min", "max"):
            return column.evolve(name=name, lookup_cdf=None, hotness=None)
        if agg in NUMERIC and column.dtype == "string":
            raise SchemaError(f"column {column.name!r} is string: Groupby cannot compute {name!r} of strings")
        # The result is a number: no longer an id, and as a target one for regression.
        tags = list(inherited_tags(column.tags))
        if Tag.TARGET in column.tags:
            tags += [Tag.TARGET, Tag.REGRESSION]
        nullable = agg in ("std", "var") or (column.nullable and agg in ("mean", "median"))
        return Column(name, _number(column.dtype, agg), tuple(tags), nullable=nullable)

    def rows(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> pl.LazyFrame:
        keys, order = list(self.groupby_cols), [*self.sort_cols, ROW]
        frame = frame.select(ROW, *(pl.col(c.name).cast(column_type(c)) for c in columns)).drop_nulls(keys)
        aggregations = self._aggregations([column.name for column in columns])
        outputs = [column.name for column in self.output(columns)][len(keys) :]
        types = {column.name: column.dtype for column in columns}
        expressions = [
            self._aggregate(name, agg, types[name]).alias(output)
            for (name, agg), output in zip(aggregations, outputs, strict=True)
        ]
        if not any(agg in ORDERED for _, agg in aggregations):
            return frame.group_by(keys).agg(expressions).sort(keys)
        descending = [False] * len(keys) + [not self.ascending] * len(self.sort_cols) + [False]
        frame = frame.sort([*keys, *order], descending=descending, nulls_last=True)
        return frame.group_by(keys, maintain_order=True).agg(expressions)

    def _aggregate(self, name: str, agg: str, dtype: str) -> pl.Expr:
        x = pl.col(name)
        if not self.ascending and self.sort_cols and agg in ("first", "last"):
            agg = {"first": "last", "last": "first"}[agg]
        if agg in NUMERIC:
            x = x.cast(to_polars(_number(dtype, agg)))  # before the sum, which might overflow
        result = AGGREGATIONS[agg](x)
        return result.cast(to_polars(_number(dtype, agg))) if agg in COUNTS else result


def _check_aggregations(aggs: Any, of: str) -> tuple[str, ...]:
    """Return aggregations as a tuple of names. Raise `ValueError` for an unknown one."""
    aggs = (aggs,) if isinstance(aggs, str) or aggs is list else tuple(aggs)
    aggs = tuple("list" if agg is list else agg for agg in aggs)
    for agg in aggs:
        if agg not in AGGREGATIONS:
            raise ValueError(f"Groupby: no aggregation {agg!r}{of}; available: {', '.join(AGGREGATIONS)}")
    return tuple(dict.fromkeys(aggs))


def _number(dtype: str, agg: str) -> str:
    """Return the dtype of the number that values of `dtype` are aggregated to."""
    if agg in COUNTS:
        return "int32"
    if agg != "sum" or is_float(dtype):
        return "float64"
    return "uint64" if dtype.startswith("uint") else "int64"
