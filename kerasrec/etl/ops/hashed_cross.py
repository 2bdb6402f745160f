"""HashedCross: replaces combinations of values by ids from a hash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.lookup.hashing import check_hashable, cross_hashes, cross_tensors, hash_tensor, hashes
from kerasrec.etl.operator.id_columns import FIRST, NULL, id_column, id_dtype, joint_column
from kerasrec.etl.operator.operator import Operator
from kerasrec.etl.ops.hash_bucket import bucket, bucket_tensor, check_buckets
from kerasrec.etl.sources.types import to_polars
from kerasrec.schema import Column

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class HashedCross(Operator):
    """Combine several columns into one of ids: 3 + hash % num_buckets of the combination of their values.

    The output is a categorical column of int32 (int64 for 2**31 ids or more); id 0 is padding, 1 means that all
    columns are null (a null beside a value counts as a value), 2 is unused. The order of the columns matters.
    Values are hashed as by `HashBucket`.

    NVTabular's `HashedCross` crosses each inner list of `[["a", "b"], ["a", "c"]]`; here each cross is an
    operator. It combines hashes by xor, so that all pairs of equal values fall into one bucket; here they do not.

    Args:
        num_buckets: the number of ids.
        name: the name of the new column and its embedding table; by default the columns' names joined by "_X_".

    Raises:
        ValueError: fewer than two columns, or `num_buckets` below 1.
        SchemaError: (in fit) a column of lists, floats or dates.

    Example:

    >>> cross = ["city", "device"] >> HashedCross(10_000)  # outputs city_X_device
    """

    num_buckets: int
    name: str | None = None

    def __post_init__(self) -> None:
        check_buckets("HashedCross", self.num_buckets)

    def output_names(self, names: list[str]) -> list[str]:
        if len(names) < 2:
            raise ValueError(f"HashedCross combines two columns or more; got {names}")
        return [self.name or "_X_".join(names)]

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        return dict.fromkeys(self.output_names(names), names)

    def vocabularies(self, names: list[str]) -> list[str]:
        return self.output_names(names)

    def output(self, columns: Sequence[Column]) -> list[Column]:
        for column in columns:
            check_hashable(column, "HashedCross")
        (name,) = self.output_names([column.name for column in columns])
        return [id_column(joint_column(columns, name, "HashedCross"), FIRST + self.num_buckets, name)]

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        hashed = cross_hashes([hashes(x, column.dtype) for x, column in zip(values, columns, strict=True)])
        ids = bucket(hashed, self.num_buckets)
        all_null = pl.all_horizontal(x.is_null() for x in values)
        null = pl.lit(NULL, to_polars(id_dtype(FIRST + self.num_buckets)))
        return [pl.when(all_null).then(null).otherwise(ids)]

    def tensorflow(
        self, columns: Sequence[Column], resources: list[Any]
    ) -> Callable[[list[TensorColumn]], list[TensorColumn]]:
        import tensorflow as tf

        from kerasrec.etl.lookup.tensor_column import any_valid

        def cross(values: list[TensorColumn]) -> list[TensorColumn]:
            ids = bucket_tensor(
                cross_tensors([(hash_tensor(x.values), x.valid) for x in values]), self.num_buckets
            )
            valid = any_valid(values)
            if valid is not None:
                ids = tf.where(valid, ids, tf.constant(NULL, ids.dtype))
            return [values[0].evolve(values=ids, valid=None)]

        return cross
