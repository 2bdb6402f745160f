"""Joins the values of several columns into one string that differs for each combination, in Polars and TensorFlow.

A string is written as its number of bytes, ":" and itself; any other value as its text and ","; a null as ",".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from kerasrec.schema import Column

if TYPE_CHECKING:
    from kerasrec.etl.lookup.tensor_column import TensorColumn


def key_string(columns: Sequence[Column], values: Sequence[pl.Expr]) -> pl.Expr:
    """Return the string of each row's values; null where all of them are null."""

    def part(column: Column, x: pl.Expr) -> pl.Expr:
        if column.dtype == "string":
            text = pl.concat_str(x.str.len_bytes().cast(pl.String), pl.lit(":"), x)
        else:
            text = pl.concat_str(x.cast(pl.String), pl.lit(","))
        return text.fill_null(",")

    parts = [part(column, x) for column, x in zip(columns, values, strict=True)]
    return pl.when(pl.any_horizontal(x.is_not_null() for x in values)).then(pl.concat_str(parts))


def key_string_tensor(columns: Sequence[Column]) -> Callable[[list[TensorColumn]], TensorColumn]:
    """Return a function that computes `key_string` of tensors."""
    import tensorflow as tf

    from kerasrec.etl.lookup.tensor_column import any_valid

    def part(column: Column, x: TensorColumn) -> Any:
        if column.dtype == "string":
            text = tf.strings.join([tf.strings.as_string(tf.strings.length(x.values)), ":", x.values])
        else:
            text = tf.strings.join([tf.strings.as_string(x.values), ","])
        return text if x.valid is None else tf.where(x.valid, text, ",")

    def join(values: list[TensorColumn]) -> TensorColumn:
        parts = [part(column, x) for column, x in zip(columns, values, strict=True)]
        return values[0].evolve(values=tf.strings.join(parts), valid=any_valid(values))

    return join
