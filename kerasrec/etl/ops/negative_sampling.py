"""NegativeSampling: beside each positive, items that it might have been."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from kerasrec.etl.lookup.hashing import mixed, refuse_measures
from kerasrec.etl.lookup.weighted_sampling import Draws
from kerasrec.etl.operator.id_columns import FIRST
from kerasrec.etl.operator.row_operators import MakesRows
from kerasrec.etl.operator.settings import check_names
from kerasrec.etl.sources.types import ROW, column_type
from kerasrec.schema import Column, SchemaError, Tag

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn

COUNT, INDEX, BEGIN, END = "__count__", "__index__", "__begin__", "__end__"
MOST = 2**52  # what weights add up to at most


@dataclass(repr=False)
class NegativeSampling(MakesRows):
    """Puts `n_per_positive` negatives behind each positive: the same row with another item, and 0 as its target.

    Items are drawn from those that the fitted rows held, with replacement, in proportion to how often they were a
    positive there to the power of `popularity`, and never the positive's own item. With `by`, neither any that was
    a positive of the same user (or session, or whatever the columns say), in the fitted rows or in those that are
    transformed. Draws are exact: whom little is left to draw from gets that, and whom nothing gets no negatives. A
    row's draws depend on `seed` and on its number only.

    Without a column `target` every row is a positive, and the operator makes that column. With one, a row is a
    positive where it is above 0, and other rows stay as they are, without negatives. A null item, and an id that
    `Categorify` gave to nulls or unknown values, is never drawn; in `by`, it is nobody's.

    Merlin Models' `UniformNegativeSampling` draws from the batch's items while it trains (`n_per_positive`,
    `seed`), and may draw positives of the same user; NVTabular has no such operator. Under `transform(...,
    targets=False)` and in a served model each row passes as it is. Put Categorify in front: it should count
    events, not negatives.

    Rows stream. State is the catalog; with `by`, the distinct pairs of group and item too, which are gathered
    anew, in memory, whenever rows are transformed (to draw up `Dataset.lazy()`, then, reads them once).

    Args:
        item: the column of the items' ids.
        n_per_positive: how many negatives.
        item_features: columns that go with the item; a drawn one brings its own, those of the first row that was
            fitted with it.
        by: the user, the session, ...: whose positives are no negatives.
        popularity: 0 draws uniformly, 1 by popularity, 0.75 as word2vec does.
        target: the column of the labels.
        seed: of the draws.

    Raises:
        ValueError: columns that are not given, numbers out of range.
        SchemaError: (when fitted) an item that is a float or a list, a group that is a list, labels that are
            strings or lists, a source without any item.

    Example:

    >>> ids = ["user", "item", "category"] >> Categorify()
    >>> rows = ids >> NegativeSampling("item", 4, item_features="category", by="user", popularity=0.75)
    >>> workflow = Workflow(rows)
    """

    stateful: ClassVar[bool] = True
    numbered: ClassVar[bool] = True
    passes: ClassVar[bool] = True
    item: str
    n_per_positive: int = 1
    item_features: str | Sequence[str] = ()
    by: str | Sequence[str] = ()
    popularity: float = 0.0
    target: str = "target"
    seed: int = 0

    def __post_init__(self) -> None:
        self.item_features = _several(self.item_features)
        self.by = _several(self.by)
        if self.n_per_positive < 1 or self.popularity < 0 or not 0 <= self.seed < 2**64:
            raise ValueError(
                f"NegativeSampling takes n_per_positive >= 1, popularity >= 0 and 0 <= seed < 2**64, "
                f"not {self.n_per_positive}, {self.popularity} and {self.seed}"
            )
        if self.item in (*self.item_features, *self.by) or set(self.item_features) & {*self.by, self.target}:
            raise ValueError("NegativeSampling: item, item_features, by and target name a column twice")

    @property
    def whole(self) -> bool:
        return bool(self.by)

    # ---- names and facts -------------------------------------------------------------------------------------
    def output_names(self, names: list[str]) -> list[str]:
        for argument, wanted in (
            ("item", [self.item]),
            ("item_features", self.item_features),
            ("by", self.by),
        ):
            check_names("NegativeSampling", argument, dict.fromkeys(wanted), names)
        if reserved := {COUNT, INDEX, BEGIN, END} & {*names, self.target}:
            raise SchemaError(
                f"column {min(reserved)!r}: the name is reserved in NegativeSampling; rename the column"
            )
        return names if self.target in names else [*names, self.target]

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        return {self.target: [self.item]} | {name: [name] for name in names}

    def decides_by(self, names: list[str]) -> list[str]:
        return [name for name in names if name in (self.item, *self.by, self.target)]

    def output(self, columns: Sequence[Column]) -> list[Column]:
        made = []
        for column in columns:
            if column.is_list and column.name in (self.item, *self.by, self.target):
                raise SchemaError(f"column {column.name!r} holds lists: NegativeSampling takes one value a row")
            if column.name == self.item:
                refuse_measures(column, "NegativeSampling")
            if column.name in (self.item, *self.item_features):
                column = column.evolve(head=None)
            if column.name == self.target:
                if column.dtype == "string":
                    raise SchemaError(f"column {column.name!r} is string; NegativeSampling takes numbers")
                if Tag.TARGET not in column.tags:
                    column = column.evolve(add_tags=[Tag.TARGET, Tag.BINARY])
            made.append(column)
        if all(column.name != self.target for column in columns):
            made.append(Column(self.target, "float32", (Tag.TARGET, Tag.BINARY)))
        return made

    # ---- each row as it is -----------------------------------------------------------------------------------
    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        extra = len(self.output(columns)) - len(columns)
        return [*values, *[pl.lit(1.0, pl.Float32)] * extra]

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        extra = len(self.output(columns)) - len(columns)  # a target: no feature is made of it
        return lambda values: [*values, *values[:1] * extra]

    # ---- learning --------------------------------------------------------------------------------------------
    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        known = frame.filter(_is_known(columns, self.item))
        positive = self._positive(columns)
        features = [pl.col(name).sort_by(ROW).first() for name in self.item_features]
        counted = known.group_by(self.item).agg(
            positive.sum().cast(pl.Int64).alias(COUNT), *features, *([pl.col(ROW).min()] if features else [])
        )
        return [counted, *([self._pairs(known.filter(positive), columns).unique()] if self.by else [])]

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        counted, *pairs = (pl.concat(frames) for frames in zip(*parts, strict=True))
        if self.item_features:
            counted = counted.sort(ROW)
        first = [pl.col(name).first() for name in (*self.item_features, ROW) if name in counted.columns]
        counted = counted.group_by(self.item, maintain_order=True).agg(pl.col(COUNT).sum(), *first)
        return [counted, *(frame.unique() for frame in pairs)]

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        catalog = statistics[0].select(self.item, *self.item_features, COUNT).sort(self.item)
        if not len(catalog):
            raise SchemaError(f"NegativeSampling: column {self.item!r} holds no item to draw")
        self.frames["catalog"] = catalog
        if self.by:
            pairs = statistics[1].join(self._indexes(), on=self.item).drop(self.item)
            self.frames["positives"] = pairs.sort(*self.by, INDEX)

    def _positive(self, columns: Sequence[Column]) -> pl.Expr:
        if all(column.name != self.target for column in columns):
            return pl.col(ROW).is_not_null()
        return (pl.col(self.target).cast(pl.Float64) > 0).fill_null(False)

    def _pairs(self, positives: pl.LazyFrame, columns: Sequence[Column], item: str | None = None) -> pl.LazyFrame:
        """Whose positives which items are."""
        known = [_is_known(columns, name) for name in self.by]
        return positives.filter(known).select(*self.by, item or self.item).drop_nulls()

    def _indexes(self) -> pl.DataFrame:
        """Where the items stand in the catalog."""
        return self.frames["catalog"].select(self.item).with_row_index(INDEX)

    # ---- rows ------------------------------------------------------------------------------------------------
    def rows(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> pl.LazyFrame:
        positive = self._positive(columns)
        frame = frame.select(ROW, *(pl.col(c.name).cast(column_type(c)) for c in columns))
        frame = frame.join(self._indexes().lazy(), on=self.item, how="left", maintain_order="left")
        excluded = np.zeros(0, np.int64)
        if self.by:
            pairs = pl.concat(
                [self.frames["positives"].lazy(), self._pairs(frame.filter(positive), columns, INDEX)]
            )
            found = pairs.unique().sort(*self.by, INDEX).collect(engine="streaming")
            excluded = found[INDEX].to_numpy().astype(np.int64)
            sizes = found.group_by(self.by, maintain_order=True).len(END)
            groups = sizes.with_columns(pl.col(END).cast(pl.Int64).cum_sum())
            groups = groups.with_columns(pl.col(END).shift(1, fill_value=0).alias(BEGIN))
            frame = frame.join(groups.lazy(), on=self.by, how="left", maintain_order="left")
        return frame.with_columns(positive.alias(COUNT)).map_batches(
            partial(self._sampled, columns=columns, draws=Draws(self._weights(), excluded)),
            schema={column.name: column_type(column) for column in self.output(columns)},
            streamable=True,
            predicate_pushdown=False,
            projection_pushdown=False,
            slice_pushdown=False,
        )

    def _weights(self) -> Any:
        counts = self.frames["catalog"][COUNT].to_numpy().astype(float)
        exact = counts**self.popularity
        if float(self.popularity).is_integer() and exact.sum() <= MOST:
            return exact.astype(np.int64)
        return np.maximum(np.rint(exact * (MOST / exact.sum())), exact > 0).astype(np.int64)

    def _sampled(self, rows: pl.DataFrame, columns: Sequence[Column], draws: Draws) -> pl.DataFrame:
        """Some rows, each positive with its negatives behind it."""
        begins, ends = draws.alone(rows[INDEX].cast(pl.Int64).fill_null(-1).to_numpy())
        if self.by:  # a row's own item is among the group's
            grouped = rows[END].is_not_null().to_numpy()
            begins = np.where(grouped, rows[BEGIN].fill_null(0).to_numpy(), begins)
            ends = np.where(grouped, rows[END].fill_null(0).to_numpy(), ends)
        sampled = rows[COUNT].to_numpy() & (draws.left(begins, ends) > 0)
        copies = 1 + self.n_per_positive * sampled
        of = np.repeat(np.arange(len(rows)), copies)
        nth = np.arange(len(of)) - np.repeat(np.cumsum(copies) - copies, copies)
        negative = nth > 0
        at = of[negative]
        drawn = draws.draw(self._hashes(rows[ROW].gather(at), nth[negative]), begins[at], ends[at])

        source = of.copy()
        source[negative] = len(rows) + drawn
        made = []
        for column in self.output(columns):
            if column.name in (self.item, *self.item_features):
                catalog = self.frames["catalog"][column.name].cast(column_type(column))
                made.append(pl.concat([rows[column.name], catalog]).gather(source))
            elif column.name == self.target:
                label = rows[column.name].gather(of) if column.name in rows.columns else None
                zero = pl.Series(column.name, np.where(negative, 0, 1)).cast(column_type(column))
                made.append(zero if label is None else zero.zip_with(pl.Series(negative), label))
            else:
                made.append(rows[column.name].gather(of))
        return pl.DataFrame(made)

    def _hashes(self, row: pl.Series, nth: Any) -> Any:
        seed = pl.select(mixed(pl.lit(self.seed, pl.UInt64))).item()
        numbers = pl.DataFrame({"row": row.cast(pl.UInt64), "nth": pl.Series(nth, dtype=pl.UInt64)})
        mixed_row = mixed(pl.col("row") ^ pl.lit(seed, pl.UInt64))
        return numbers.select(mixed(mixed_row + pl.col("nth"))).to_series().to_numpy()


def _is_known(columns: Sequence[Column], name: str) -> pl.Expr:
    """Whether a value of a key is one, and neither null nor the id of all unknown ones."""
    column = next(column for column in columns if column.name == name)
    return pl.col(name) >= FIRST if Tag.CATEGORICAL in column.tags else pl.col(name).is_not_null()


def _several(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
