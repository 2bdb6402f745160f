"""Categorify: values to ids, the frequent ones first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from kerasrec.etl.lookup.hashing import hash_tensor, hashes, refuse_measures
from kerasrec.etl.operator import key_strings
from kerasrec.etl.operator.elementwise import Apart, Elementwise, elements
from kerasrec.etl.operator.id_columns import FIRST, NULL, UNKNOWN, id_column, id_dtype, united
from kerasrec.etl.operator.operator import Operator, Take
from kerasrec.etl.operator.settings import all_of, check_names, setting
from kerasrec.etl.operator.vocabularies import frequent, given, plain, summed, tail, typed
from kerasrec.etl.ops.hash_bucket import bucket, bucket_tensor, check_buckets
from kerasrec.etl.sources.types import to_polars
from kerasrec.schema import Column, SchemaError
from kerasrec.tables.access_frequency import head_of_counts

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class Categorify(Apart, Elementwise):
    """Replaces strings, integers or booleans by ids: 0 padding, 1 null, 2 any value that is not in the
    vocabulary, and from 3 on the vocabulary, the most frequent value first; equal counts are ordered by value.
    With `num_buckets`, values that are not in the vocabulary are hashed (as by `HashBucket`) into as many ids
    after it, so that ids stay ordered by frequency, and 2 is not used.

    In a list column each element gets its id. The output is int32 (int64 beyond 2**31 - 1 ids).

    NVTabular's `Categorify` has `freq_threshold` (here `min_count`), puts buckets before the vocabulary, and takes
    columns that share a vocabulary, or are combined, as inner lists: `[["a", "b"]]` with `encode_type="joint"` is
    `["a", "b"] >> Categorify(table="t")`, with `encode_type="combo"` `["a", "b"] >> Categorify(combo=True)`.

    Args:
        min_count: how often a value must occur to have an id of its own.
        max_size: the most ids there may be in all, the special three and the buckets included, so at most this
            many rows in an embedding table; the least frequent values lose theirs.
        table: a name under which all the columns share one vocabulary and one embedding table; without it each
            column has its own, named after it.
        num_buckets: how many ids the values that are not in the vocabulary are spread over; 0 makes them all 2.
        combo: makes one column of the combinations of all columns' values, named after them ("a_b"). Nulls in all
            of them are a null; a null beside a value is a value of its own.
        vocabs: vocabularies that are given, not learned: for some tables, values (of combinations: tuples of
            them) in the order of their ids. How often they occur is counted; `min_count` and `max_size` are not
            applied to them.

    `min_count`, `max_size` and `num_buckets` may be dicts by column (by `table` where one is given; by "a_b" of a
    combination); columns that such a dict leaves out are as if nothing had been given.

    Raises:
        ValueError: a number that is too small, a value twice in a given vocabulary, a name that is no column.
        SchemaError: (when fitted) a column of floats, of lists in a combination, of another type than the given
            vocabulary's or than the columns that share its table.

    Example:

    >>> cats = ["item", "genres"] >> Categorify(min_count={"item": 2}, num_buckets={"item": 100})
    >>> people = ["author", "reader"] >> Categorify(table="user")
    >>> both = ["city", "device"] >> Categorify(combo=True)  # makes city_device
    """

    stateful: ClassVar[bool] = True
    min_count: int | Mapping[str, int] = 1
    max_size: int | Mapping[str, int] | None = None
    table: str | None = None
    num_buckets: int | Mapping[str, int] = 0
    combo: bool = False
    vocabs: Mapping[str, Sequence[Any]] | None = None

    def __post_init__(self) -> None:
        for number in all_of(self.min_count):
            if number < 1:
                raise ValueError(f"min_count must be at least 1, not {number!r}")
        for number in all_of(self.max_size):
            if number is not None and number < FIRST:
                raise ValueError(f"max_size counts the {FIRST} special ids as well: {number!r} is too small")
        check_buckets("Categorify", self.num_buckets, least=0)
        if self.vocabs is not None:
            self.vocabs = {name: plain(words) for name, words in self.vocabs.items()}
            for name, words in self.vocabs.items():
                distinct = {tuple(word) if isinstance(word, list) else word for word in words}
                if None in distinct or len(distinct) < len(words):
                    raise ValueError(f"the vocabulary given for {name!r} holds a null, or a value twice")

    # ---- names -----------------------------------------------------------------------------------------------
    def output_names(self, names: list[str]) -> list[str]:
        if self.combo and len(names) < 2:
            raise ValueError(f"Categorify(combo=True) needs two columns or more, not {names}")
        tables = self.vocabularies(names)
        for argument in ("min_count", "max_size", "num_buckets", "vocabs"):
            check_names("Categorify", argument, getattr(self, argument), tables)
        for table in tables:
            most = self._most(table)
            if most is not None and most < 0:
                raise ValueError(
                    f"Categorify: the buckets and the {FIRST} special ids of {table!r} pass its max_size"
                )
        return ["_".join(names)] if self.combo else list(names)

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        return {"_".join(names): names} if self.combo else super().sources(names)

    def vocabularies(self, names: list[str]) -> list[str]:
        return [self.table] if self.table else ["_".join(names)] if self.combo else list(names)

    def _buckets(self, table: str) -> int:
        return setting(self.num_buckets, table) or 0

    def _most(self, table: str) -> int | None:
        """The most values that may have an id of their own."""
        size = setting(self.max_size, table)
        return None if size is None else size - FIRST - self._buckets(table)

    # ---- the two faces ---------------------------------------------------------------------------------------
    def output(self, columns: Sequence[Column]) -> list[Column]:
        joined = self._joined(columns)
        if self.table and len({column.dtype for column in joined}) > 1:
            kinds = ", ".join(f"{column.name!r} is {column.dtype}" for column in columns)
            raise SchemaError(f"columns that share table {self.table!r} must have one type: {kinds}")
        return super().output(joined)

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        return super().expressions(
            self._joined(columns), [key_strings.key(columns, values)] if self.combo else values
        )

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        encode = super().tensorflow(self._joined(columns), resources)
        if not self.combo:
            return encode
        key = key_strings.key_tensor(columns)
        return lambda values: encode([key(values)])

    def _joined(self, columns: Sequence[Column]) -> Sequence[Column]:
        """The columns whose values have ids: of a combination, one of strings."""
        for column in columns:
            refuse_measures(column, "Categorify")
        if not self.combo:
            return columns
        return [united(columns, "_".join(column.name for column in columns), "Categorify(combo=True)")]

    def column(self, column: Column) -> Column:
        table = self.table or column.name
        cardinality = FIRST + len(self.frames[table]) if table in self.frames else FIRST
        return id_column(column, cardinality, table, self._head(table))

    def _head(self, table: str) -> tuple[float, ...] | None:
        """What share of the lookups seen goes to the first 1, 2, 4, ... ids."""
        if table not in self.frames:
            return None
        facts, counts = self.facts[table], self.frames[table]["count"].to_numpy()
        padding = 0
        return head_of_counts(np.concatenate([[padding, facts["null"], facts["unknown"]], counts]))

    def _words(self, table: str) -> pl.Series:
        """What is looked up, id 3 first: the values, or their combinations' keys."""
        frame = self.frames[table]
        return frame["key" if self.combo else "value"].head(len(frame) - self._buckets(table))

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        # An Enum's physical value is the position in the vocabulary. In Polars' streaming engine this is the
        # fastest of the ways to look values up (a join and replace_strict are the others).
        table = self.table or column.name
        words, buckets = self._words(table), self._buckets(table)
        dtype = to_polars(id_dtype(FIRST + len(words) + buckets))
        position = x.cast(pl.String).cast(self._enum(table), strict=False).to_physical().cast(dtype)
        unknown = pl.lit(UNKNOWN, dtype)
        if buckets:
            rest = hashes(pl.when(position.is_null()).then(x), column.dtype)
            unknown = bucket(rest, buckets, FIRST + len(words)).cast(dtype)
        known = (position + pl.lit(FIRST, dtype)).fill_null(unknown)
        return pl.when(x.is_null()).then(pl.lit(NULL, dtype)).otherwise(known)

    def _enum(self, table: str) -> pl.DataTypeExpr:
        """The vocabulary as a type, kept, as it is asked for several times and made by going over all words."""
        kept = self.__dict__.setdefault("_enums", {})
        frame = self.frames[table]
        if table not in kept or kept[table][0] is not frame:
            kept[table] = frame, pl.Enum(self._words(table).cast(pl.String)).to_dtype_expr()
        return kept[table][1]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_enums"}

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        import tensorflow as tf

        from kerasrec.etl.lookup.tensor_column import table_key

        name = self.table or column.name
        words, buckets = self._words(name), self._buckets(name)
        dtype = id_dtype(FIRST + len(words) + buckets)
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
            if buckets:
                rest = bucket_tensor(hash_tensor(x.values), buckets, FIRST + len(words))
                ids = tf.where(ids == UNKNOWN, tf.cast(rest, dtype), ids)
            if x.valid is not None:
                ids = tf.where(x.valid, ids, tf.constant(NULL, dtype))
            return x.evolve(values=ids, valid=None)

        return encode

    # ---- learning --------------------------------------------------------------------------------------------
    def queries(self, take: Take, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        return Operator.queries(self, take, columns) if self.combo else super().queries(take, columns)

    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        if self.combo:
            some = pl.any_horizontal(pl.col(column.name).is_not_null() for column in columns)
            value = pl.when(some).then(pl.struct(column.name for column in columns))
            return [frame.group_by(value=value).agg(count=pl.len().cast(pl.Int64))]
        return [
            elements(frame, column).group_by(value=pl.col(column.name)).agg(count=pl.len().cast(pl.Int64))
            for column in columns
        ]

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        return [summed(frames) for frames in zip(*parts, strict=True)]

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        groups: dict[str, list[pl.DataFrame]] = {}
        dtypes: dict[str, str] = {}
        for column, frame in zip(self._joined(columns), statistics, strict=True):
            groups.setdefault(self.table or column.name, []).append(frame)
            dtypes[self.table or column.name] = column.dtype
        fields = [pl.col("value").struct.field(column.name) for column in columns] if self.combo else []
        key = key_strings.key(columns, fields) if self.combo else pl.col("value")
        for table, frames in groups.items():
            counts = summed(frames)
            seen, buckets = counts.drop_nulls("value"), self._buckets(table)
            if self.vocabs and table in self.vocabs:
                kept = given(typed(self.vocabs[table], table, counts.schema["value"]), seen, key)
            else:
                kept = frequent(seen, setting(self.min_count, table) or 1, self._most(table))
            if buckets:
                kept = pl.concat([kept, tail(seen, kept, key, dtypes[table], buckets)])
            null = counts.filter(pl.col("value").is_null())["count"].sum()
            self.facts[table] = {"null": null, "unknown": int(seen["count"].sum()) - int(kept["count"].sum())}
            self.frames[table] = kept.with_columns(key=key) if self.combo else kept

    def vocabulary(self, table: str) -> pl.DataFrame:
        """What each id stands for: columns id, value and count, from id 1 (null) on; of a bucket the value is
        null, of a combination it is a struct."""
        words, facts = self.frames[table].select("value", "count"), self.facts[table]
        special = pl.DataFrame(
            {"value": [None, None], "count": [facts["null"], facts["unknown"]]}, schema=words.schema
        )
        return pl.concat([special, words]).with_row_index("id", offset=NULL).cast({"id": pl.Int64})
