"""HashBucket: replaces values by ids from a hash, without fitting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.lookup.hashing import check_hashable, hash_tensor, hashes
from kerasrec.etl.operator.elementwise import Elementwise
from kerasrec.etl.operator.id_columns import FIRST, NULL, id_column, id_dtype
from kerasrec.etl.operator.settings import check_names, setting_for, setting_values
from kerasrec.etl.sources.types import to_polars
from kerasrec.schema import Column

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class HashBucket(Elementwise):
    """Replace strings, integers or booleans by the id 3 + hash % num_buckets.

    The output is a categorical column of int32 (int64 for 2**31 ids or more); id 0 is padding, 1 null, 2 unused.
    Nothing is learned, so no value is out of vocabulary, and different values may share an id. Elements of lists
    are replaced one by one.

    The hash never changes (`kerasrec.etl.lookup.hashing`): FarmHash's Fingerprint64 for strings, as in
    `tf.strings.to_hash_bucket_fast` and `keras.layers.Hashing`, and SplitMix64 for integers. NVTabular's
    `HashBucket` has ids 0 to num_buckets - 1, including those of nulls, from a hash of cuDF or pandas.

    Args:
        num_buckets: the number of ids, or a dict of such by column.
        table: a name under which all columns share one embedding table; by default each column has its own, named
            after the column.

    Raises:
        ValueError: `num_buckets` below 1, a dict that lacks a column, or a dict together with `table`.
        SchemaError: (in fit) a column of floats or dates.

    Example:

    >>> ids = ["device", "page"] >> HashBucket({"device": 1_000, "page": 100_000})
    """

    num_buckets: int | Mapping[str, int]
    table: str | None = None

    def __post_init__(self) -> None:
        check_buckets("HashBucket", self.num_buckets)
        if self.table and isinstance(self.num_buckets, Mapping):
            raise ValueError(
                f"HashBucket: num_buckets must be one integer for columns that share table {self.table!r}"
            )

    def output_names(self, names: list[str]) -> list[str]:
        check_names("HashBucket", "num_buckets", self.num_buckets, names, required=True)
        return list(names)

    def vocabularies(self, names: list[str]) -> list[str]:
        return [self.table] if self.table else list(names)

    def column(self, column: Column) -> Column:
        check_hashable(column, "HashBucket")
        return id_column(column, FIRST + setting_for(self.num_buckets, column.name), self.table or column.name)

    def expression(self, x: pl.Expr, column: Column) -> pl.Expr:
        return bucket(hashes(x, column.dtype), setting_for(self.num_buckets, column.name)).fill_null(NULL)

    def tensor(self, column: Column, resources: list[Any]) -> Callable[[TensorColumn], TensorColumn]:
        import tensorflow as tf

        num_buckets = setting_for(self.num_buckets, column.name)

        def encode(x: TensorColumn) -> TensorColumn:
            ids = bucket_tensor(hash_tensor(x.values), num_buckets)
            if x.valid is not None:
                ids = tf.where(x.valid, ids, tf.constant(NULL, ids.dtype))
            return x.evolve(values=ids, valid=None)

        return encode


def check_buckets(op: str, num_buckets: Any, least: int = 1) -> None:
    """Raise `ValueError` where `num_buckets`, or a value of that dict, is not an integer >= `least`."""
    for number in setting_values(num_buckets):
        if not isinstance(number, int) or isinstance(number, bool) or number < least:
            raise ValueError(f"{op}: num_buckets must be an integer >= {least}; got {number!r}")


def bucket(hashed: pl.Expr, num_buckets: int, first: int = FIRST) -> pl.Expr:
    """Return ids from `first` on for UInt64 hashes; null where they are null."""
    dtype = to_polars(id_dtype(first + num_buckets))
    return (hashed % pl.lit(num_buckets, pl.UInt64)).cast(dtype) + pl.lit(first, dtype)


def bucket_tensor(hashed: Any, num_buckets: int, first: int = FIRST) -> Any:
    """Return ids from `first` on for a tensor of hashes."""
    import tensorflow as tf

    dtype = id_dtype(first + num_buckets)
    position = tf.math.floormod(hashed, tf.constant(num_buckets, tf.uint64))
    return tf.cast(position, dtype) + tf.constant(first, dtype)
