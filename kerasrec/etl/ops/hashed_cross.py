"""HashedCross: combinations of several columns' values to ids by hashing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.etl.lookup.hashing import cross_tensors, crossed, hash_tensor, hashes, refuse_measures
from kerasrec.etl.operator.id_columns import FIRST, NULL, id_column, id_dtype, united
from kerasrec.etl.operator.operator import Operator
from kerasrec.etl.ops.hash_bucket import bucket, bucket_tensor, check_buckets
from kerasrec.etl.sources.types import to_polars
from kerasrec.schema import Column

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


@dataclass(repr=False)
class HashedCross(Operator):
    """One categorical column of several: 3 + hash % num_buckets of the combination of their values. 0 is padding,
    1 stands for nulls in all of them (a null beside a value is a value of its own), 2 is not used.

    The order of the columns counts. Values are hashed as by `HashBucket`.

    NVTabular's `HashedCross` crosses each inner list of `[["a", "b"], ["a", "c"]]`; here each cross is an
    operator. It combines hashes by xor, so that all pairs of equal values fall into one bucket; here they do not.

    Args:
        num_buckets: how many ids to spread combinations over.
        name: of the new column and its embedding table; by default the columns' with "_X_" between.

    Raises:
        ValueError: fewer than two columns.
        SchemaError: (when fitted) a column of lists or of floats.

    Example:

    >>> cross = ["city", "device"] >> HashedCross(10_000)  # makes column city_X_device
    """

    num_buckets: int
    name: str | None = None

    def __post_init__(self) -> None:
        check_buckets("HashedCross", self.num_buckets)

    def output_names(self, names: list[str]) -> list[str]:
        if len(names) < 2:
            raise ValueError(f"HashedCross needs two columns or more, not {names}")
        return [self.name or "_X_".join(names)]

    def sources(self, names: list[str]) -> dict[str, list[str]]:
        return dict.fromkeys(self.output_names(names), names)

    def vocabularies(self, names: list[str]) -> list[str]:
        return self.output_names(names)

    def output(self, columns: Sequence[Column]) -> list[Column]:
        for column in columns:
            refuse_measures(column, "HashedCross")
        (name,) = self.output_names([column.name for column in columns])
        return [id_column(united(columns, name, "HashedCross"), FIRST + self.num_buckets, name)]

    def expressions(self, columns: Sequence[Column], values: Sequence[pl.Expr]) -> list[pl.Expr]:
        hashed = crossed([hashes(x, column.dtype) for x, column in zip(values, columns, strict=True)])
        ids = bucket(hashed, self.num_buckets)
        nothing = pl.all_horizontal(x.is_null() for x in values)
        null = pl.lit(NULL, to_polars(id_dtype(FIRST + self.num_buckets)))
        return [pl.when(nothing).then(null).otherwise(ids)]

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
