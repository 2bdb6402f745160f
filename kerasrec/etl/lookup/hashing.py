"""64-bit hashes of values, the same in Polars and in TensorFlow, in every version and on every machine.

A string's hash is FarmHash's Fingerprint64 of its UTF-8 bytes; an integer's (or a boolean's) is SplitMix64 of its
64 bits (Steele, Lea and Flood, 2014), so a value's hash is the same in all integer types. (Polars' own `hash`
differs between versions.)
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
NULL_HASH = 0x6C6C756E  # the hash of a null that counts as a value


def check_hashable(column: Column, op: str) -> None:
    """Raise `SchemaError` for a column of floats or dates: their values are not categories."""
    if column.dtype == "datetime":
        remedy = "use TimeFeatures"
    elif is_float(column.dtype):
        remedy = (
            "for ids that pandas made floats because some are null, put LambdaOp(lambda x: x.cast(pl.Int64)) "
            f'before it, or convert them with df.astype({{{column.name!r}: "Int64"}}); '
            "for other numbers, use Bucketize"
        )
    else:
        return
    raise SchemaError(
        f"column {column.name!r} is {column.dtype}: {op} takes strings, integers and booleans; {remedy}"
    )


# ---- Polars -------------------------------------------------------------------------------------------------
def hashes(x: pl.Expr, dtype: str) -> pl.Expr:
    """Return the hashes (UInt64) of elements `x` of a schema's `dtype`; null where `x` is."""
    if dtype == "string":
        return x.map_batches(_of_strings, return_dtype=pl.UInt64(), is_elementwise=True)
    if dtype == "bool":
        return splitmix64(x.cast(pl.UInt64))
    return splitmix64(x if dtype == "uint64" else x.cast(pl.Int64).reinterpret(signed=False))


def splitmix64(x: pl.Expr) -> pl.Expr:
    """Return SplitMix64 of UInt64 numbers."""
    x = x + _u64(STEP)
    x = (x ^ (x // _u64(1 << 30))) * _u64(ONCE)
    x = (x ^ (x // _u64(1 << 27))) * _u64(TWICE)
    return x ^ (x // _u64(1 << 31))


def cross_hashes(parts: list[pl.Expr]) -> pl.Expr:
    """Combine several hashes into one. Their order matters, and a null counts as a value."""
    known = [part.fill_null(_u64(NULL_HASH)) for part in parts]
    if len(known) == 2:
        return splitmix64(known[0]) ^ known[1]
    # `splitmix64` repeats its input eight times, so an expression of k parts would have 8**k leaves.
    struct = pl.struct(part.alias(str(i)) for i, part in enumerate(known))
    return struct.map_batches(_cross_rows, return_dtype=pl.UInt64(), is_elementwise=True)


def _cross_rows(rows: pl.Series) -> pl.Series:
    combined, *others = (part.to_numpy() for part in rows.struct.unnest().get_columns())
    for part in others:
        combined = _splitmix64(combined) ^ part
    return pl.Series(rows.name, combined)


def _splitmix64(x: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return SplitMix64 of an array."""
    x = x + np.uint64(STEP)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(ONCE)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(TWICE)
    return x ^ (x >> np.uint64(31))


def _u64(number: int) -> pl.Expr:
    return pl.lit(number, pl.UInt64)


def _of_strings(strings: pl.Series) -> pl.Series:
    known = strings.drop_nulls()
    if not len(known):
        return pl.Series(strings.name, [None] * len(strings), pl.UInt64)
    arrow = known.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = arrow.buffers()
    ends = np.frombuffer(offsets, np.int64, len(known) + 1, 8 * arrow.offset)
    fingerprints = fingerprint64(np.frombuffer(data or b"", np.uint8), ends[:-1], np.diff(ends))
    if len(known) == len(strings):
        return pl.Series(strings.name, fingerprints)
    positions = strings.is_not_null().arg_true()
    return (
        pl.Series(strings.name, [None], pl.UInt64).new_from_index(0, len(strings)).scatter(positions, fingerprints)
    )


# ---- TensorFlow ---------------------------------------------------------------------------------------------
def hash_tensor(x: tf.Tensor) -> tf.Tensor:
    """Return the hashes (uint64) of a tensor (n,)."""
    import tensorflow as tf

    if x.dtype == tf.string:
        return tf.bitcast(tf.fingerprint(x), tf.uint64)
    if x.dtype == tf.bool:
        return splitmix64_tensor(tf.cast(x, tf.uint64))
    return splitmix64_tensor(x if x.dtype == tf.uint64 else tf.bitcast(tf.cast(x, tf.int64), tf.uint64))


def splitmix64_tensor(x: tf.Tensor) -> tf.Tensor:
    """Return SplitMix64 of a uint64 tensor."""
    import tensorflow as tf

    def xor_shift(x: tf.Tensor, bits: int) -> tf.Tensor:
        return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(bits, tf.uint64)))

    x = x + tf.constant(STEP, tf.uint64)
    x = xor_shift(x, 30) * tf.constant(ONCE, tf.uint64)
    x = xor_shift(x, 27) * tf.constant(TWICE, tf.uint64)
    return xor_shift(x, 31)


def cross_tensors(parts: list[tuple[tf.Tensor, tf.Tensor | None]]) -> tf.Tensor:
    """Combine several hashes into one, as `cross_hashes` does.

    Args:
        parts: hashes, each with a mask that is false for nulls.
    """
    import tensorflow as tf

    null = tf.constant(NULL_HASH, tf.uint64)
    known: list[Any] = [part if valid is None else tf.where(valid, part, null) for part, valid in parts]
    combined = known[0]
    for part in known[1:]:
        combined = tf.bitwise.bitwise_xor(splitmix64_tensor(combined), part)
    return combined
