"""Categorify: replaces values by ids, the most frequent values first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from kerasrec.etl.lookup.hashing import check_hashable, hash_tensor, hashes
from kerasrec.etl.operator.elementwise import Elementwise, PerColumn, elements
from kerasrec.etl.operator.id_columns import FIRST, NULL, UNKNOWN, id_column, id_dtype, joint_column
from kerasrec.etl.operator.key_strings import key_string, key_string_tensor
from kerasrec.etl.operator.operator import Operator, SelectColumns
from kerasrec.etl.operator.settings import check_names, setting_for, setting_values
from kerasrec.etl.operator.vocabularies import (
    bucket_rows,
    cast_vocabulary,
    count_given,
    most_frequent,
    sum_counts,
    to_json_values,
)
from kerasrec.etl.ops.hash_bucket import bucket, bucket_tensor, check_buckets
from kerasrec.etl.sources.types import to_polars
from kerasrec.schema import Column, SchemaError
from kerasrec.tables.access_frequency import head_of_counts

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class Categorify(PerColumn, Elementwise):
    """Replace strings, integers or booleans by ids.

    Id 0 is padding, 1 is null, 2 is a value out of vocabulary, and ids from 3 on are the vocabulary, in descending
    order of frequency (equal counts in order of value). With `num_buckets`, values out of vocabulary are hashed,
    as by `HashBucket`, into that many ids after the vocabulary, so that ids stay ordered by frequency; 2 is then
    unused. Elements of lists are replaced one by one. The output is categorical, of dtype int32 (int64 for 2**31
    ids or more).

    NVTabular's `Categorify` has `freq_threshold` (here `min_count`), and places buckets before the vocabulary. Its
    `[["a", "b"]]` with `encode_type="joint"` is `["a", "b"] >> Categorify(table="t")`; with `encode_type="combo"`
    it is `["a", "b"] >> Categorify(combo=True)`.

    Args:
        min_count: the least number of occurrences for a value to get its own id.
        max_size: the greatest number of ids, including the three special ones and the buckets, so also of rows of
            the embedding table; the least frequent values are out of vocabulary.
        table: a name under which all columns share one vocabulary and one embedding table; by default each column
            has its own, named after the column.
        num_buckets: the number of ids for hashed values out of vocabulary; with 0 they all get id 2.
        combo: combine the values of all columns into one column, named after them ("a_b"). It is null where all
            columns are null; a null beside a value counts as a value.
        vocabs: given vocabularies by table name: values (tuples for combinations) in the order of their ids. Their
            occurrences are counted, but `min_count` and `max_size` do not apply.

    `min_count`, `max_size` and `num_buckets` may be dicts by column (by `table` if given, by "a_b" for a
    combination); columns not in a dict get the default.

    Raises:
        ValueError: a number that is too small, a duplicate in a given vocabulary, an unknown column name.
        SchemaError: (in fit) a column of floats or dates; lists in a combination; a type that differs from that of
            the given vocabulary, or of the columns that share the table.

    Example:

    >>> cats = ["item", "genres"] >> Categorify(min_count={"item": 2}, num_buckets={"item": 100})
    >>> people = ["author", "reader"] >> Categorify(table="user")
    >>> both = ["city", "device"] >> Categorify(combo=True)  # outputs city_device
    """

    stateful: ClassVar[bool] = True
    min_count: int | Mapping[str, int] = 1
    max_size: int | Mapping[str, int] | None = None
    table: str | None = None
    num_buckets: int | Mapping[str, int] = 0
    combo: bool = False
    vocabs: Mapping[str, Sequence[Any]] | None = None

    def __post_init__(self) -> None:
        for number in setting_values(self.min_count):
            if number < 1:
                raise ValueError(f"Categorify: min_count must be an integer >= 1; got {number!r}")
        for number in setting_values(self.max_size):
            if number is not None and number < FIRST:
                raise ValueError(f"Categorify: max_size includes the {FIRST} special ids; got {number!r}")
        check_buckets("Categorify", self.num_buckets, least=0)
        if self.vocabs is not None:
            self.vocabs = {name: to_json_values(values) for name, values in self.vocabs.items()}
            for name, values in self.vocabs.items():
                distinct = {tuple(value) if isinstance(value, list) else value for value in values}
                if None in distinct or len(distinct) < len(values):
                    raise ValueError(f"Categorify: vocabs: {name!r} must have distinct values and no null")

    # ---- names -----------------------------------------------------------------------------------------------
    def output_names(self, names: list[str]) -> list[str]:
        if self.combo and len(names) < 2:
            raise ValueError(f"Categorify(combo=True) combines two columns or more; got {names}")
        tables = self.vocabularies(names)
        for argument in ("min_count", "max_size", "num_buckets", "vocabs"):
            check_names("Categorify", argument, getattr(self, argument), tables)
        for table in tables:
            limit = self._max_values(table)
            if limit is not None and limit < 0:
                raise ValueError(
                    f"Categorify: max_size of {table!r} must be at least num_buckets + {FIRST} (the special ids)"
                )
        return ["_".join(names)] if self.combo else list(names)

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        return {"_".join(names): names} if self.combo else super().sources(names)

    def vocabularies(self, names: list[str]) -> list[str]:
        return [self.table] if self.table else ["_".join(names)] if self.combo else list(names)

    def _buckets(self, table: str) -> int:
        return setting_for(self.num_buckets, table) or 0

    def _max_values(self, table: str) -> int | None:
        """Return the greatest number of values in the vocabulary; None for no limit."""
        size = setting_for(self.max_size, table)
        return None if size is None else size - FIRST - self._buckets(table)

    # ---- the two implementations -----------------------------------------------------------------------------
    def output(self, columns: Sequence[Column]) -> list[Column]:
        encoded = self._encoded(columns)
        if self.table and len({column.dtype for column in encoded}) > 1:
            types = ", ".join(f"{column.name!r} is {column.dtype}" for column in columns)
            raise SchemaError(f"columns that share table {self.table!r} must have one type; got {types}")
        return super().output(encoded)

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        return super().expressions(self._encoded(columns), [key_string(columns, values)] if self.combo else values)

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        encode = super().tensorflow(self._encoded(columns), resources)
        if not self.combo:
            return encode
        key = key_string_tensor(columns)
        return lambda values: encode([key(values)])

    def _encoded(self, columns: Sequence[Column]) -> Sequence[Column]:
        """Return the columns whose values get ids: the given ones, or the key strings of their combination."""
        for column in columns:
            check_hashable(column, "Categorify")
        if not self.combo:
            return columns
        return [joint_column(columns, "_".join(column.name for column in columns), "Categorify(combo=True)")]

    def column(self, column: Column) -> Column:
        table = self.table or column.name
        cardinality = FIRST + len(self.frames[table]) if table in self.frames else FIRST
        return id_column(column, cardinality, table, self._lookup_cdf(table))

    def _lookup_cdf(self, table: str) -> tuple[float, ...] | None:
        """Return the share of lookups in the fitted data that go to the first 1, 2, 4, ... ids."""
        if table not in self.frames:
            return None
        state, counts = self.state[table], self.frames[table]["count"].to_numpy()
        padding = 0
        return head_of_counts(np.concatenate([[padding, state["null"], state["unknown"]], counts]))

    def _vocabulary(self, table: str) -> pl.Series:
        """Return the values that are looked up (the key strings of a combination) from id 3 on."""
        frame = self.frames[table]
        return frame["key" if self.combo else "value"].head(len(frame) - self._buckets(table))

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        # The physical value of an Enum is the position in the vocabulary. In Polars' streaming engine this lookup
        # is faster than a join or replace_strict.
        table = self.table or column.name
        vocabulary, buckets = self._vocabulary(table), self._buckets(table)
        dtype = to_polars(id_dtype(FIRST + len(vocabulary) + buckets))
        position = x.cast(pl.String).cast(self._enum(table), strict=False).to_physical().cast(dtype)
        unknown = pl.lit(UNKNOWN, dtype)
        if buckets:
            rest = hashes(pl.when(position.is_null()).then(x), column.dtype)
            unknown = bucket(rest, buckets, FIRST + len(vocabulary)).cast(dtype)
        known = (position + pl.lit(FIRST, dtype)).fill_null(unknown)
        return pl.when(x.is_null()).then(pl.lit(NULL, dtype)).otherwise(known)

    def _enum(self, table: str) -> pl.DataTypeExpr:
        """Return the vocabulary as an Enum type; cached, as making it takes a pass over all values."""
        cache = self.__dict__.setdefault("_enums", {})
        frame = self.frames[table]
        if table not in cache or cache[table][0] is not frame:
            cache[table] = frame, pl.Enum(self._vocabulary(table).cast(pl.String)).to_dtype_expr()
        return cache[table][1]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_enums"}

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        import tensorflow as tf

        from kerasrec.etl.lookup.tensor_column import table_key

        name = self.table or column.name
        vocabulary, buckets = self._vocabulary(name), self._buckets(name)
        dtype = id_dtype(FIRST + len(vocabulary) + buckets)
        keys = table_key(
            tf.constant(vocabulary.to_numpy() if column.dtype != "string" else vocabulary.to_list(), column.dtype)
        )
        # A mutable table is saved in the checkpoint, so keys may have any bytes and are no constant of the graph;
        # an anonymous one cannot clash with a table of another SavedModel in the same process.
        table = tf.lookup.experimental.MutableHashTable(
            keys.dtype, tf.int64, UNKNOWN, experimental_is_anonymous=True
        )
        table.insert(keys, tf.range(FIRST, FIRST + len(vocabulary), dtype=tf.int64))
        resources.append(table)

        def encode(x: TensorColumn) -> TensorColumn:
            ids = tf.cast(table.lookup(table_key(x.values)), dtype)
            if buckets:
                rest = bucket_tensor(hash_tensor(x.values), buckets, FIRST + len(vocabulary))
                ids = tf.where(ids == UNKNOWN, tf.cast(rest, dtype), ids)
            if x.valid is not None:
                ids = tf.where(x.valid, ids, tf.constant(NULL, dtype))
            return x.evolve(values=ids, valid=None)

        return encode

    # ---- learning --------------------------------------------------------------------------------------------
    def queries(self, select: SelectColumns, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        return Operator.queries(self, select, columns) if self.combo else super().queries(select, columns)

    def partial(self, frame: pl.LazyFrame, columns: Sequence[Column]) -> list[pl.LazyFrame]:
        if self.combo:
            has_value = pl.any_horizontal(pl.col(column.name).is_not_null() for column in columns)
            value = pl.when(has_value).then(pl.struct(column.name for column in columns))
            return [frame.group_by(value=value).agg(count=pl.len().cast(pl.Int64))]
        return [
            elements(frame, column).group_by(value=pl.col(column.name)).agg(count=pl.len().cast(pl.Int64))
            for column in columns
        ]

    def merge(self, parts: Sequence[Sequence[pl.DataFrame]]) -> list[pl.DataFrame]:
        return [sum_counts(frames) for frames in zip(*parts, strict=True)]

    def finalize(self, statistics: Sequence[pl.DataFrame], columns: Sequence[Column]) -> None:
        groups: dict[str, list[pl.DataFrame]] = {}
        dtypes: dict[str, str] = {}
        for column, frame in zip(self._encoded(columns), statistics, strict=True):
            groups.setdefault(self.table or column.name, []).append(frame)
            dtypes[self.table or column.name] = column.dtype
        fields = [pl.col("value").struct.field(column.name) for column in columns] if self.combo else []
        key = key_string(columns, fields) if self.combo else pl.col("value")
        for table, frames in groups.items():
            counts = sum_counts(frames)
            seen, buckets = counts.drop_nulls("value"), self._buckets(table)
            if self.vocabs and table in self.vocabs:
                kept = count_given(cast_vocabulary(self.vocabs[table], table, counts.schema["value"]), seen, key)
            else:
                kept = most_frequent(seen, setting_for(self.min_count, table) or 1, self._max_values(table))
            if buckets:
                kept = pl.concat([kept, bucket_rows(seen, kept, key, dtypes[table], buckets)])
            null = counts.filter(pl.col("value").is_null())["count"].sum()
            self.state[table] = {"null": null, "unknown": int(seen["count"].sum()) - int(kept["count"].sum())}
            self.frames[table] = kept.with_columns(key=key) if self.combo else kept

    def vocabulary(self, table: str) -> pl.DataFrame:
        """Return columns id, value and count, from id 1 (null) on; the value of a bucket is null, of a combination
        it is a struct."""
        values, state = self.frames[table].select("value", "count"), self.state[table]
        special = pl.DataFrame(
            {"value": [None, None], "count": [state["null"], state["unknown"]]}, schema=values.schema
        )
        return pl.concat([special, values]).with_row_index("id", offset=NULL).cast({"id": pl.Int64})
