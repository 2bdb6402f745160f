"""HashBucket: values to ids by hashing, with nothing to learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.lookup.hashing import hash_tensor, hashes, refuse_measures
from kerasrec.etl.operator.elementwise import Elementwise
from kerasrec.etl.operator.id_columns import FIRST, NULL, id_column, id_dtype
from kerasrec.etl.operator.settings import all_of, check_names, setting
from kerasrec.etl.sources.types import to_polars
from kerasrec.schema import Column

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class HashBucket(Elementwise):
    """Replaces strings, integers or booleans by 3 + hash % num_buckets, as a categorical column: 0 is padding, 1
    null, 2 not used. Nothing is learned, so no value is ever unknown; different values may share an id.

    The hash is fixed for all time (`kerasrec.etl.lookup.hashing`): for strings FarmHash's Fingerprint64, as
    `tf.strings.to_hash_bucket_fast` and `keras.layers.Hashing` have it; for integers SplitMix64.

    NVTabular's `HashBucket` makes ids 0 to num_buckets - 1, nulls among them, by the hash of cuDF or pandas.

    Args:
        num_buckets: how many ids to spread values over, or a dict of such by column.
        table: a name under which all the columns share one embedding table; by default each has its own, named
            after it.

    Raises (when fitted):
        SchemaError: a column of floats.

    Example:

    >>> ids = ["device", "page"] >> HashBucket({"device": 1_000, "page": 100_000})
    """

    num_buckets: int | Mapping[str, int]
    table: str | None = None

    def __post_init__(self) -> None:
        check_buckets("HashBucket", self.num_buckets)
        if self.table and isinstance(self.num_buckets, Mapping):
            raise ValueError(f"HashBucket: columns that share table {self.table!r} have one num_buckets")

    def output_names(self, names: list[str]) -> list[str]:
        check_names("HashBucket", "num_buckets", self.num_buckets, names, all_of_them=True)
        return list(names)

    def vocabularies(self, names: list[str]) -> list[str]:
        return [self.table] if self.table else list(names)

    def column(self, column: Column) -> Column:
        refuse_measures(column, "HashBucket")
        return id_column(column, FIRST + setting(self.num_buckets, column.name), self.table or column.name)

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        return bucket(hashes(x, column.dtype), setting(self.num_buckets, column.name)).fill_null(NULL)

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        import tensorflow as tf

        num_buckets = setting(self.num_buckets, column.name)

        def encode(x: TensorColumn) -> TensorColumn:
            ids = bucket_tensor(hash_tensor(x.values), num_buckets)
            if x.valid is not None:
                ids = tf.where(x.valid, ids, tf.constant(NULL, ids.dtype))
            return x.evolve(values=ids, valid=None)

        return encode


def check_buckets(op: str, num_buckets: Any, least: int = 1) -> None:
    """Raise `ValueError` where a number of buckets, or one in a dict of them, is none."""
    for number in all_of(num_buckets):
        if not isinstance(number, int) or isinstance(number, bool) or number < least:
            raise ValueError(f"{op}: num_buckets must be at least {least}, not {number!r}")


def bucket(hashed: pl.Expr, num_buckets: int, first: int = FIRST) -> pl.Expr:
    """Ids from `first` on, of UInt64 hashes; null where they are."""
    dtype = to_polars(id_dtype(first + num_buckets))
    return (hashed % pl.lit(num_buckets, pl.UInt64)).cast(dtype) + pl.lit(first, dtype)


def bucket_tensor(hashed: Any, num_buckets: int, first: int = FIRST) -> Any:
    """The same of a tensor of hashes."""
    import tensorflow as tf

    dtype = id_dtype(first + num_buckets)
    position = tf.math.floormod(hashed, tf.constant(num_buckets, tf.uint64))
    return tf.cast(position, dtype) + tf.constant(first, dtype)
