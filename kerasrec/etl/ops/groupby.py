"""Groupby: one row for each user, session or the like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl

from kerasrec.etl.operator.row_operators import MakesRows
from kerasrec.etl.operator.settings import check_names
from kerasrec.etl.sources.types import ROW, column_type, is_float, to_polars
from kerasrec.schema import Column, SchemaError, Tag

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
class Groupby(MakesRows):
    """Makes one row of all rows that agree in the key columns: a session of its events, a user of all she did.

    Outputs are the keys, in order of which the rows come out, and for each other column X and each of its
    aggregations an `X_list`, `X_first`, ... as in NVTabular:

    - "list": the values, in the order of `sort_cols`, where those tie or are not given in that of the rows; so the
      lists of one row stand side by side. Nulls stay, and tags, vocabulary and table of an id column with them.
    - "first", "last": of the values in ascending order of `sort_cols`, whatever `ascending` says; null where that
      one is null.
    - "count", "nunique": of values that are not null; "sum" (0 where all are null), "mean", "median", "min",
      "max"; "std" and "var" with n - 1 below, null for one row: put `FillMissing` behind.

    Operators may follow: `ListSlice`, `ValueCount`, `Categorify`, `Filter`. Categorify in front is the faster
    order, and counts events; behind, it counts lists' elements, which are the same. A Filter in front drops
    events, whatever the rows are wanted for; one behind drops groups.

    NVTabular's `Groupby` groups each partition by itself, wants the data shuffled by key beforehand, and promises
    no order of ties; here groups are whole, in whatever files their rows lie. As there, rows with a null key
    belong to no group (`FillMissing` makes them one), and nulls in `sort_cols` come last.

    For lists, first and last, the columns that are read are sorted in memory: take twice their size. Other
    aggregations need memory for the groups only. CSV files are read again for each operator fitted behind.

    A served model answers row by row, so there is no TensorFlow face.

    Args:
        groupby_cols: the key, or several.
        sort_cols: the columns that rows of a group are ordered by.
        aggs: an aggregation, or several, of every column that is no key; or a dict by column, and those that it
            does not name are left out.
        name_sep: what stands between a column and its aggregation in the name of the output.
        ascending: whether rows are in ascending order of `sort_cols`.

    Raises:
        ValueError: a column that is not given, an aggregation that is not known, or none at all.
        SchemaError: (when fitted) a list as a key or to be sorted by, collected or summed; strings to be summed; a
            target to be collected into a list.

    Example: Merlin's sessions, the last 20 items of each.

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

    numbered: ClassVar[bool] = True
    groupby_cols: str | Sequence[str]
    sort_cols: str | Sequence[str] = ()
    aggs: str | Sequence[str] | Mapping[str, str | Sequence[str]] = "list"
    name_sep: str = "_"
    ascending: bool = True

    def __post_init__(self) -> None:
        self.groupby_cols, self.sort_cols = _several(self.groupby_cols), _several(self.sort_cols)
        if not self.groupby_cols:
            raise ValueError("Groupby: groupby_cols names no column")
        if isinstance(self.aggs, Mapping):
            self.aggs = {name: _known(aggs, f" of column {name!r}") for name, aggs in self.aggs.items()}
        else:
            self.aggs = _known(self.aggs, "")

    # ---- names -----------------------------------------------------------------------------------------------
    def output_names(self, names: list[str]) -> list[str]:
        for argument, wanted in (("groupby_cols", self.groupby_cols), ("sort_cols", self.sort_cols)):
            check_names("Groupby", argument, dict.fromkeys(wanted), names)
        check_names("Groupby", "aggs", self.aggs, [name for name in names if name not in self.groupby_cols])
        made = [self._name(name, agg) for name, agg in self._made(names)]
        if not made:
            raise ValueError(f"Groupby: nothing to aggregate; the columns are: {', '.join(names)}")
        return [*self.groupby_cols, *made]

    def _made(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Each input and aggregation that makes an output."""
        aggs = self.aggs if isinstance(self.aggs, Mapping) else dict.fromkeys(names, self.aggs)
        return [(name, agg) for name in names if name not in self.groupby_cols for agg in aggs.get(name, ())]

    def _name(self, name: str, agg: str) -> str:
        return f"{name}{self.name_sep}{agg}"

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        made = {key: list(self.groupby_cols) for key in self.groupby_cols}
        for name, agg in self._made(names):
            ordered = self.sort_cols if agg in ORDERED else ()
            made[self._name(name, agg)] = list(dict.fromkeys([*self.groupby_cols, name, *ordered]))
        return made

    def decides_by(self, names: list[str]) -> list[str]:
        return list(self.groupby_cols)

    # ---- rows ------------------------------------------------------------------------------------------------
    def output(self, columns: Sequence[Column]) -> list[Column]:
        given = {column.name: column for column in columns}
        keys = [name for name in self.groupby_cols if name in given]
        for name in [*keys, *(name for name in self.sort_cols if name in given)]:
            if given[name].is_list:
                raise SchemaError(f"column {name!r} holds lists, which Groupby can neither group nor sort by")
        made = [self._column(given[name], agg) for name, agg in self._made(list(given))]
        return [*(given[name].evolve(nullable=False, head=None) for name in keys), *made]

    def _column(self, column: Column, agg: str) -> Column:
        name = self._name(column.name, agg)
        if column.is_list and agg not in ("first", "last", "count"):
            raise SchemaError(f"column {column.name!r} holds lists already: Groupby cannot make {name!r} of them")
        if agg == "list":
            if Tag.TARGET in column.tags:
                raise SchemaError(
                    f"column {column.name!r} is a target, which {name!r}, a list, cannot be: aggregate it by "
                    "'last', 'max' or the like, or leave Target out if it is to be a feature"
                )
            return column.evolve(name=name, add_tags=[Tag.LIST], hotness=None)
        if agg in ("first", "last", "min", "max"):
            return column.evolve(name=name, head=None, hotness=None)
        if agg in NUMERIC and column.dtype == "string":
            raise SchemaError(f"column {column.name!r} is string: Groupby cannot compute {name!r} of strings")
        # What is left are numbers that are no ids, and targets only of the kind that takes any number.
        tags: list[Tag] = [tag for tag in column.tags if tag in (Tag.USER, Tag.ITEM)]
        if Tag.TARGET in column.tags:
            tags += [Tag.TARGET, Tag.REGRESSION]
        nullable = agg in ("std", "var") or (column.nullable and agg in ("mean", "median"))
        return Column(name, _number(column.dtype, agg), tuple(tags), nullable=nullable)

    def rows(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> pl.LazyFrame:
        keys, order = list(self.groupby_cols), [*self.sort_cols, ROW]
        frame = frame.select(ROW, *(pl.col(c.name).cast(column_type(c)) for c in columns)).drop_nulls(keys)
        made = self._made([column.name for column in columns])
        outputs = [column.name for column in self.output(columns)][len(keys) :]
        types = {column.name: column.dtype for column in columns}
        aggregated = [
            self._aggregate(name, agg, types[name]).alias(output)
            for (name, agg), output in zip(made, outputs, strict=True)
        ]
        if not any(agg in ORDERED for _, agg in made):
            return frame.group_by(keys).agg(aggregated).sort(keys)
        down = [False] * len(keys) + [not self.ascending] * len(self.sort_cols) + [False]
        frame = frame.sort([*keys, *order], descending=down, nulls_last=True)
        return frame.group_by(keys, maintain_order=True).agg(aggregated)

    def _aggregate(self, name: str, agg: str, dtype: str) -> pl.Expr:
        x = pl.col(name)
        if not self.ascending and self.sort_cols and agg in ("first", "last"):
            agg = {"first": "last", "last": "first"}[agg]
        if agg in NUMERIC:
            x = x.cast(to_polars(_number(dtype, agg)))  # before it is summed
        made = AGGREGATIONS[agg](x)
        return made.cast(to_polars(_number(dtype, agg))) if agg in COUNTS else made


def _several(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _known(aggs: Any, of: str) -> tuple[str, ...]:
    """Aggregations as a tuple of names. Raises `ValueError` for one that there is not."""
    aggs = (aggs,) if isinstance(aggs, str) or aggs is list else tuple(aggs)
    aggs = tuple("list" if agg is list else agg for agg in aggs)
    for agg in aggs:
        if agg not in AGGREGATIONS:
            raise ValueError(f"Groupby: no aggregation {agg!r}{of}; available: {', '.join(AGGREGATIONS)}")
    return tuple(dict.fromkeys(aggs))


def _number(dtype: str, agg: str) -> str:
    """The type of a number that values of `dtype` are aggregated to."""
    if agg in COUNTS:
        return "int32"
    if agg != "sum" or is_float(dtype):
        return "float64"
    return "uint64" if dtype.startswith("uint") else "int64"
