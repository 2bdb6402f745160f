"""Categorify: values to ids, the frequent ones first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from kerasrec.etl.ops.base import Elementwise, elements
from kerasrec.etl.ops.ids import FIRST, NULL, UNKNOWN
from kerasrec.etl.types import is_float
from kerasrec.parallel.frequencies import head_of_counts
from kerasrec.schema import Column, SchemaError, Tag, suggest_embedding_dim

if TYPE_CHECKING:
    from kerasrec.etl.tensors import TensorColumn


@dataclass(repr=False)
class Categorify(Elementwise):
    """Replaces strings, integers or booleans by ids: 0 padding, 1 null, 2 any value that is not in the
    vocabulary, and from 3 on the vocabulary, the most frequent value first; equal counts are ordered by value.

    In a list column each element gets its id. The output is int32 (int64 beyond 2**31 - 1 ids).

    Args:
        min_count: how often a value must occur to have an id of its own.
        max_size: the most ids there may be in all, the special three included, so at most this many rows in an
            embedding table; the least frequent values lose theirs.
        table: a name under which all the columns share one vocabulary and one embedding table; without it each
            column has its own, named after it.

    Example:

    >>> cats = ["item", "genres"] >> Categorify(min_count=2)
    >>> people = ["author", "reader"] >> Categorify(table="user")
    """

    stateful: ClassVar[bool] = True
    min_count: int = 1
    max_size: int | None = None
    table: str | None = None

    def __post_init__(self) -> None:
        if self.min_count < 1:
            raise ValueError(f"min_count must be at least 1, not {self.min_count!r}")
        if self.max_size is not None and self.max_size < FIRST:
            raise ValueError(f"max_size counts the {FIRST} special ids as well: {self.max_size!r} is too small")

    def vocabularies(self, names: list[str]) -> list[str]:
        return [self.table] if self.table else list(names)

    def column(self, column: Column) -> Column:
        if is_float(column.dtype):
            raise SchemaError(
                f"column {column.name!r} is {column.dtype}: Categorify takes strings, integers and booleans; "
                "cast it to integers first, or Bucketize it"
            )
        table = self.table or column.name
        cardinality = FIRST + len(self.frames[table]) if table in self.frames else FIRST
        return column.evolve(
            dtype="int32" if cardinality < 2**31 else "int64",
            add_tags=[Tag.CATEGORICAL],
            cardinality=cardinality,
            embedding_dim=suggest_embedding_dim(cardinality),
            table=table,
            nullable=False,
            head=self._head(table),
        )

    def _head(self, table: str) -> tuple[float, ...] | None:
        """What share of the lookups seen goes to the first 1, 2, 4, ... ids."""
        if table not in self.frames:
            return None
        facts, words = self.facts[table], self.frames[table]["count"].to_numpy()
        padding = 0
        return head_of_counts(np.concatenate([[padding, facts["null"], facts["unknown"]], words]))

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        # An Enum's physical value is the position in the vocabulary. In Polars' streaming engine this is the
        # fastest of the ways to look values up (a join and replace_strict are the others).
        words = self.frames[self.table or column.name]["value"].cast(pl.String)
        dtype = pl.Int32 if len(words) + FIRST < 2**31 else pl.Int64
        position = x.cast(pl.String).cast(pl.Enum(words), strict=False).to_physical().cast(dtype)
        known = (position + pl.lit(FIRST, dtype)).fill_null(pl.lit(UNKNOWN, dtype))
        return pl.when(x.is_null()).then(pl.lit(NULL, dtype)).otherwise(known)

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        import tensorflow as tf

        from kerasrec.etl.tensors import table_key

        words = self.frames[self.table or column.name]["value"]
        dtype = tf.int32 if len(words) + FIRST < 2**31 else tf.int64
        keys = table_key(
            tf.constant(words.to_numpy() if column.dtype != "string" else words.to_list(), column.dtype)
        )
        # A mutable table is saved in the checkpoint, so keys may hold any bytes and the graph no constant; an
        # anonymous one is not confused with that of another SavedModel in the same process.
        table = tf.lookup.experimental.MutableHashTable(
            keys.dtype, tf.int64, UNKNOWN, experimental_is_anonymous=True
        )
        table.insert(keys, tf.range(FIRST, FIRST + len(words), dtype=tf.int64))
        resources.append(table)

        def encode(x: TensorColumn) -> TensorColumn:
            ids = tf.cast(table.lookup(table_key(x.values)), dtype)
            if x.valid is not None:
                ids = tf.where(x.valid, ids, tf.constant(NULL, dtype))
            return x.evolve(values=ids, valid=None)

        return encode

    # ---- learning --------------------------------------------------------------------------------------------
    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        if self.table and len({column.dtype for column in columns}) > 1:
            kinds = ", ".join(f"{column.name!r} is {column.dtype}" for column in columns)
            raise SchemaError(f"columns that share table {self.table!r} must have one type: {kinds}")
        return [
            elements(frame, column).group_by(value=pl.col(column.name)).agg(count=pl.len().cast(pl.Int64))
            for column in columns
        ]

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        return [_summed(frames) for frames in zip(*parts, strict=True)]

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        groups: dict[str, list[pl.DataFrame]] = {}
        for column, frame in zip(columns, statistics, strict=True):
            groups.setdefault(self.table or column.name, []).append(frame)
        for table, frames in groups.items():
            counts = _summed(frames)
            words = counts.drop_nulls("value")
            kept = words.filter(pl.col("count") >= self.min_count).sort("count", "value", descending=[True, False])
            if self.max_size is not None:
                kept = kept.head(self.max_size - FIRST)
            null = counts.filter(pl.col("value").is_null())["count"].sum()
            unknown = int(words["count"].sum()) - int(kept["count"].sum())
            self.facts[table] = {"null": null, "unknown": unknown}
            self.frames[table] = kept

    def vocabulary(self, table: str) -> pl.DataFrame:
        """What each id stands for: columns id, value and count, from id 1 (null) on."""
        words, facts = self.frames[table], self.facts[table]
        special = pl.DataFrame(
            {"value": [None, None], "count": [facts["null"], facts["unknown"]]}, schema=words.schema
        )
        return pl.concat([special, words]).with_row_index("id", offset=NULL).cast({"id": pl.Int64})


def _summed(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Counts by value of several parts together."""
    if len(frames) == 1:
        return frames[0]
    return pl.concat(frames).group_by("value").agg(pl.col("count").sum())
