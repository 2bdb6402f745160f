"""64-bit hashes of values, the same in Polars and in TensorFlow, in every version and on every machine.

A string's hash is FarmHash's Fingerprint64 of its UTF-8 bytes; an integer's (or a boolean's) is SplitMix64 of its
64 bits (Steele, Lea and Flood, 2014), so that all integer types hash a value alike. (Polars' own `hash` differs
between its versions.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from kerasrec.etl.lookup.farmhash import fingerprint64
from kerasrec.etl.sources.types import is_float
from kerasrec.schema import Column, SchemaError

if TYPE_CHECKING:
    import tensorflow as tf

STEP, ONCE, TWICE = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
OF_NULL = 0x6C6C756E  # what a null hashes to where it counts as a value


def refuse_measures(column: Column, op: str) -> None:
    """Raise `SchemaError` for a column whose values are no keys."""
    if is_float(column.dtype) or column.dtype == "datetime":
        remedy = (
            "TimeFeatures tells its parts"
            if column.dtype == "datetime"
            else "cast it to integers first, or Bucketize it"
        )
        raise SchemaError(
            f"column {column.name!r} is {column.dtype}: {op} takes strings, integers and booleans; {remedy}"
        )


# ---- Polars -------------------------------------------------------------------------------------------------
def hashes(x: pl.Expr, dtype: str) -> pl.Expr:
    """The hashes (UInt64) of elements `x` of a schema's `dtype`; null where `x` is."""
    if dtype == "string":
        return x.map_batches(_of_strings, return_dtype=pl.UInt64(), is_elementwise=True)
    if dtype == "bool":
        return mixed(x.cast(pl.UInt64))
    return mixed(x if dtype == "uint64" else x.cast(pl.Int64).reinterpret(signed=False))


def mixed(x: pl.Expr) -> pl.Expr:
    """SplitMix64 of UInt64 numbers."""
    x = x + _u64(STEP)
    x = (x ^ (x // _u64(1 << 30))) * _u64(ONCE)
    x = (x ^ (x // _u64(1 << 27))) * _u64(TWICE)
    return x ^ (x // _u64(1 << 31))


def crossed(parts: list[pl.Expr]) -> pl.Expr:
    """One hash of several, whose order matters; a null counts as a value."""
    known = [part.fill_null(_u64(OF_NULL)) for part in parts]
    if len(known) == 2:
        return mixed(known[0]) ^ known[1]
    # `mixed` names what it mixes eight times, so an expression of k parts would have 8**k leaves.
    together = pl.struct(part.alias(str(i)) for i, part in enumerate(known))
    return together.map_batches(_crossed, return_dtype=pl.UInt64(), is_elementwise=True)


def _crossed(rows: pl.Series) -> pl.Series:
    made, *others = (part.to_numpy() for part in rows.struct.unnest().get_columns())
    for part in others:
        made = _mixed(made) ^ part
    return pl.Series(rows.name, made)


def _mixed(x: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """What `mixed` computes."""
    x = x + np.uint64(STEP)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(ONCE)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(TWICE)
    return x ^ (x >> np.uint64(31))


def _u64(number: int) -> pl.Expr:
    return pl.lit(number, pl.UInt64)


def _of_strings(words: pl.Series) -> pl.Series:
    known = words.drop_nulls()
    if not len(known):
        return pl.Series(words.name, [None] * len(words), pl.UInt64)
    arrow = known.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = arrow.buffers()
    ends = np.frombuffer(offsets, np.int64, len(known) + 1, 8 * arrow.offset)
    made = fingerprint64(np.frombuffer(data or b"", np.uint8), ends[:-1], np.diff(ends))
    if len(known) == len(words):
        return pl.Series(words.name, made)
    positions = words.is_not_null().arg_true()
    return pl.Series(words.name, [None], pl.UInt64).new_from_index(0, len(words)).scatter(positions, made)


# ---- TensorFlow ---------------------------------------------------------------------------------------------
def hash_tensor(x: tf.Tensor) -> tf.Tensor:
    """The hashes (uint64) of a tensor (n,)."""
    import tensorflow as tf

    if x.dtype == tf.string:
        return tf.bitcast(tf.fingerprint(x), tf.uint64)
    if x.dtype == tf.bool:
        return mix_tensor(tf.cast(x, tf.uint64))
    return mix_tensor(x if x.dtype == tf.uint64 else tf.bitcast(tf.cast(x, tf.int64), tf.uint64))


def mix_tensor(x: tf.Tensor) -> tf.Tensor:
    """What `mixed` computes."""
    import tensorflow as tf

    def folded(x: tf.Tensor, bits: int) -> tf.Tensor:
        return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(bits, tf.uint64)))

    x = x + tf.constant(STEP, tf.uint64)
    x = folded(x, 30) * tf.constant(ONCE, tf.uint64)
    x = folded(x, 27) * tf.constant(TWICE, tf.uint64)
    return folded(x, 31)


def cross_tensors(parts: list[tuple[tf.Tensor, tf.Tensor | None]]) -> tf.Tensor:
    """What `crossed` computes, of hashes that are null where the second of a pair is false."""
    import tensorflow as tf

    null = tf.constant(OF_NULL, tf.uint64)
    known: list[Any] = [part if valid is None else tf.where(valid, part, null) for part, valid in parts]
    made = known[0]
    for part in known[1:]:
        made = tf.bitwise.bitwise_xor(mix_tensor(made), part)
    return made
