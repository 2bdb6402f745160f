"""NegativeSampling: adds negative items after each positive row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from kerasrec.etl.lookup.hashing import check_hashable, splitmix64
from kerasrec.etl.lookup.weighted_sampling import WeightedSampler
from kerasrec.etl.operator.id_columns import FIRST
from kerasrec.etl.operator.row_operators import RowMaker
from kerasrec.etl.operator.settings import as_tuple, check_names
from kerasrec.etl.sources.types import ROW, column_type
from kerasrec.schema import Column, SchemaError, Tag

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn

COUNT, INDEX, BEGIN, END = "__count__", "__index__", "__begin__", "__end__"
MAX_TOTAL = 2**52  # of the weights


@dataclass(repr=False)
class NegativeSampling(RowMaker):
    """Add `n_per_positive` negatives after each positive row: copies with another item and target 0.

    Items are drawn with replacement from the items of the fitted rows, in proportion to their number of positives
    there to the power of `popularity`, and never the positive's own item. With `by`, they are also not positives
    of the same user (or session, or whatever the columns are), neither in the fitted rows nor in the transformed
    ones. Draws are exact: if few items remain, only those are drawn; if none does, a row gets no negatives. The
    draws for a row depend only on `seed` and the row's number.

    Without a column `target`, all rows are positives, and the operator adds the column (float32). With one, a row
    is positive if its target is above 0; other rows stay as they are, without negatives. A null item is never
    drawn, nor is the id that `Categorify` gives to nulls or to values out of vocabulary; in `by`, such values
    belong to nobody.

    Dtypes stay the same. In a served model, and with `transform(..., targets=False)`, rows pass unchanged. Place
    `Categorify` before, so that it counts events and not negatives. Rows are streamed. The state is the catalog of
    items; with `by`, also the distinct pairs of group and item, which are collected again in memory when rows are
    transformed (so building `Dataset.lazy()` reads the rows once).

    NVTabular has no such operator. Merlin Models' `UniformNegativeSampling` (`n_per_positive`, `seed`) draws from
    the items of the batch in training, and may draw positives of the same user.

    Args:
        item: the column of item ids.
        n_per_positive: the number of negatives per positive.
        item_features: columns that belong to the item; a drawn item brings its own, from the first fitted row with
            it.
        by: the columns (user, session, ...) whose positives are excluded.
        popularity: 0 draws uniformly, 1 by popularity, 0.75 as word2vec does.
        target: the column of labels.
        seed: the seed of the draws.

    Raises:
        ValueError: an unknown column, or a number out of range.
        SchemaError: (in fit) an item of floats, dates or lists, a group of lists, labels of strings or lists, or
            no item at all.

    Example:

    >>> ids = ["user", "item", "category"] >> Categorify()
    >>> rows = ids >> NegativeSampling("item", 4, item_features="category", by="user", popularity=0.75)
    >>> workflow = Workflow(rows)
    """

    stateful: ClassVar[bool] = True
    needs_row_numbers: ClassVar[bool] = True
    served_unchanged: ClassVar[bool] = True
    item: str
    n_per_positive: int = 1
    item_features: str | Sequence[str] = ()
    by: str | Sequence[str] = ()
    popularity: float = 0.0
    target: str = "target"
    seed: int = 0

    def __post_init__(self) -> None:
        self.item_features = as_tuple(self.item_features)
        self.by = as_tuple(self.by)
        if self.n_per_positive < 1 or self.popularity < 0 or not 0 <= self.seed < 2**64:
            raise ValueError(
                f"NegativeSampling takes n_per_positive >= 1, popularity >= 0 and 0 <= seed < 2**64; "
                f"got {self.n_per_positive}, {self.popularity} and {self.seed}"
            )
        if self.item in (*self.item_features, *self.by) or set(self.item_features) & {*self.by, self.target}:
            raise ValueError("NegativeSampling: item, item_features, by and target must be different columns")

    @property
    def needs_all_rows(self) -> bool:
        return bool(self.by)

    # ---- names and types -------------------------------------------------------------------------------------
    def output_names(self, names: list[str]) -> list[str]:
        for argument, columns in (
            ("item", [self.item]),
            ("item_features", self.item_features),
            ("by", self.by),
        ):
            check_names("NegativeSampling", argument, dict.fromkeys(columns), names)
        if reserved := {COUNT, INDEX, BEGIN, END} & {*names, self.target}:
            raise SchemaError(f"column {min(reserved)!r}: NegativeSampling reserves the name; rename the column")
        return names if self.target in names else [*names, self.target]

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        return {self.target: [self.item]} | {name: [name] for name in names}

    def row_inputs(self, names: list[str]) -> list[str]:
        return [name for name in names if name in (self.item, *self.by, self.target)]

    def output(self, columns: Sequence[Column]) -> list[Column]:
        outputs = []
        for column in columns:
            if column.is_list and column.name in (self.item, *self.by, self.target):
                raise SchemaError(f"column {column.name!r} has lists; NegativeSampling takes one value per row")
            if column.name == self.item:
                check_hashable(column, "NegativeSampling")
            if column.name in (self.item, *self.item_features):
                column = column.evolve(lookup_cdf=None)
            if column.name == self.target:
                if column.dtype == "string":
                    raise SchemaError(f"column {column.name!r} is string; NegativeSampling takes numbers")
                if Tag.TARGET not in column.tags:
                    column = column.evolve(add_tags=[Tag.TARGET, Tag.BINARY])
            outputs.append(column)
        if all(column.name != self.target for column in columns):
            outputs.append(Column(self.target, "float32", (Tag.TARGET, Tag.BINARY)))
        return outputs

    # ---- served rows, unchanged ------------------------------------------------------------------------------
    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        extra = len(self.output(columns)) - len(columns)
        return [*values, *[pl.lit(1.0, pl.Float32)] * extra]

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        extra = len(self.output(columns)) - len(columns)  # a target, which no feature depends on
        return lambda values: [*values, *values[:1] * extra]

    # ---- learning --------------------------------------------------------------------------------------------
    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        known = frame.filter(_is_known(columns, self.item))
        positive = self._positive(columns)
        features = [pl.col(name).sort_by(ROW).first() for name in self.item_features]
        counts = known.group_by(self.item).agg(
            positive.sum().cast(pl.Int64).alias(COUNT), *features, *([pl.col(ROW).min()] if features else [])
        )
        return [counts, *([self._pairs(known.filter(positive), columns).unique()] if self.by else [])]

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        counts, *pairs = (pl.concat(frames) for frames in zip(*parts, strict=True))
        if self.item_features:
            counts = counts.sort(ROW)
        first = [pl.col(name).first() for name in (*self.item_features, ROW) if name in counts.columns]
        counts = counts.group_by(self.item, maintain_order=True).agg(pl.col(COUNT).sum(), *first)
        return [counts, *(frame.unique() for frame in pairs)]

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        catalog = statistics[0].select(self.item, *self.item_features, COUNT).sort(self.item)
        if not len(catalog):
            raise SchemaError(f"NegativeSampling: column {self.item!r} has no item to draw")
        self.frames["catalog"] = catalog
        if self.by:
            pairs = statistics[1].join(self._indexes(), on=self.item).drop(self.item)
            self.frames["positives"] = pairs.sort(*self.by, INDEX)

    def _positive(self, columns: Sequence[Column]) -> pl.Expr:
        if all(column.name != self.target for column in columns):
            return pl.col(ROW).is_not_null()
        return (pl.col(self.target).cast(pl.Float64) > 0).fill_null(False)

    def _pairs(self, positives: pl.LazyFrame, columns: Sequence[Column], item: str | None = None) -> pl.LazyFrame:
        """Return the groups of positive rows, each with the item."""
        known = [_is_known(columns, name) for name in self.by]
        return positives.filter(known).select(*self.by, item or self.item).drop_nulls()

    def _indexes(self) -> pl.DataFrame:
        """Return the items with their positions in the catalog."""
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
            exclusions = pairs.unique().sort(*self.by, INDEX).collect(engine="streaming")
            excluded = exclusions[INDEX].to_numpy().astype(np.int64)
            sizes = exclusions.group_by(self.by, maintain_order=True).len(END)
            groups = sizes.with_columns(pl.col(END).cast(pl.Int64).cum_sum())
            groups = groups.with_columns(pl.col(END).shift(1, fill_value=0).alias(BEGIN))
            frame = frame.join(groups.lazy(), on=self.by, how="left", maintain_order="left")
        return frame.with_columns(positive.alias(COUNT)).map_batches(
            partial(self._add_negatives, columns=columns, sampler=WeightedSampler(self._weights(), excluded)),
            schema={column.name: column_type(column) for column in self.output(columns)},
            streamable=True,
            predicate_pushdown=False,
            projection_pushdown=False,
            slice_pushdown=False,
        )

    def _weights(self) -> Any:
        counts = self.frames["catalog"][COUNT].to_numpy().astype(float)
        exact = counts**self.popularity
        if float(self.popularity).is_integer() and exact.sum() <= MAX_TOTAL:
            return exact.astype(np.int64)
        return np.maximum(np.rint(exact * (MAX_TOTAL / exact.sum())), exact > 0).astype(np.int64)

    def _add_negatives(
        self, rows: pl.DataFrame, columns: Sequence[Column], sampler: WeightedSampler
    ) -> pl.DataFrame:
        """Add its negatives after each positive row."""
        begins, ends = sampler.single(rows[INDEX].cast(pl.Int64).fill_null(-1).to_numpy())
        if self.by:  # the items of the group include the row's own
            grouped = rows[END].is_not_null().to_numpy()
            begins = np.where(grouped, rows[BEGIN].fill_null(0).to_numpy(), begins)
            ends = np.where(grouped, rows[END].fill_null(0).to_numpy(), ends)
        sampled = rows[COUNT].to_numpy() & (sampler.remaining(begins, ends) > 0)
        copies = 1 + self.n_per_positive * sampled
        row_of = np.repeat(np.arange(len(rows)), copies)
        nth = np.arange(len(row_of)) - np.repeat(np.cumsum(copies) - copies, copies)
        negative = nth > 0
        at = row_of[negative]
        drawn = sampler.draw(self._hashes(rows[ROW].gather(at), nth[negative]), begins[at], ends[at])

        source = row_of.copy()
        source[negative] = len(rows) + drawn
        outputs = []
        for column in self.output(columns):
            if column.name in (self.item, *self.item_features):
                catalog = self.frames["catalog"][column.name].cast(column_type(column))
                outputs.append(pl.concat([rows[column.name], catalog]).gather(source))
            elif column.name == self.target:
                label = rows[column.name].gather(row_of) if column.name in rows.columns else None
                default = pl.Series(column.name, np.where(negative, 0, 1)).cast(column_type(column))
                outputs.append(default if label is None else default.zip_with(pl.Series(negative), label))
            else:
                outputs.append(rows[column.name].gather(row_of))
        return pl.DataFrame(outputs)

    def _hashes(self, row: pl.Series, nth: Any) -> Any:
        seed = pl.select(splitmix64(pl.lit(self.seed, pl.UInt64))).item()
        numbers = pl.DataFrame({"row": row.cast(pl.UInt64), "nth": pl.Series(nth, dtype=pl.UInt64)})
        mixed_row = splitmix64(pl.col("row") ^ pl.lit(seed, pl.UInt64))
        return numbers.select(splitmix64(mixed_row + pl.col("nth"))).to_series().to_numpy()


def _is_known(columns: Sequence[Column], name: str) -> pl.Expr:
    """Return whether a key has a value, neither null nor out of vocabulary."""
    column = next(column for column in columns if column.name == name)
    return pl.col(name) >= FIRST if Tag.CATEGORICAL in column.tags else pl.col(name).is_not_null()
