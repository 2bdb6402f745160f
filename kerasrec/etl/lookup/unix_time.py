"""Numbers of seconds, or of other units, since 1970 to microseconds, in Polars and in TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import tensorflow as tf

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
FIRST, LAST = -62_135_596_800, 253_402_300_799  # the first and the last second of the years 1 to 9999
DIGITS = r"^[ \t\n\v\f\r]*(-?(?:[0-9]{1,18}|[1-8][0-9]{18}))[ \t\n\v\f\r]*$"  # of int64


def _bounds(unit: str) -> tuple[int, int]:
    return max(FIRST * PER_SECOND[unit], -(2**63)), min(LAST * PER_SECOND[unit], 2**63 - 1)


def from_unix(values: pl.Series, unit: str) -> pl.Series:
    """Return the microseconds since 1970 of numbers; null for one outside the years 1 to 9999. Fractions of a
    microsecond are rounded if the number is a float, and cut off if it is an integer."""
    low, high = _bounds(unit)
    factor = 10**6 / PER_SECOND[unit]
    if values.dtype.is_float():
        x = values.cast(pl.Float64)
        x = x.set(~((x >= low) & (x <= high)).fill_null(False), None)
        return ((x * factor if factor >= 1 else x / 1000.0) + 0.5).floor().cast(pl.Int64, strict=False)
    x = values.cast(pl.Int64, strict=False)
    x = x.set(~((x >= low) & (x <= high)).fill_null(False), None)
    return x * int(factor) if factor >= 1 else x // 1000


def unix_text(text: pl.Series) -> pl.Series:
    """Return strings as int64; null for one that is not an integer."""
    return text.alias("").str.extract(DIGITS, 1).cast(pl.Int64, strict=False)


def from_unix_tensor(values: tf.Tensor, unit: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the same of a tensor (n,): (n,) int64, and (n,) bool, false outside of the years 1 to 9999."""
    import tensorflow as tf

    low, high = _bounds(unit)
    factor = 10**6 / PER_SECOND[unit]
    if values.dtype.is_floating:
        x = tf.cast(values, tf.float64)
        valid = (x >= tf.constant(low, tf.float64)) & (x <= tf.constant(high, tf.float64))
        x = tf.where(valid, x, tf.zeros_like(x))
        scaled = x * factor if factor >= 1 else x / 1000.0
        return tf.cast(tf.floor(scaled + 0.5), tf.int64), valid
    x = tf.cast(values, tf.int64)
    valid = (x >= low) & (x <= high)
    if values.dtype == tf.uint64:
        valid = valid & (x >= 0)  # greater ones wrap
    return x * int(factor) if factor >= 1 else x // 1000, valid


def unix_text_tensor(text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return strings (n,) as (n,) int64, and (n,) bool, false for one that is not an integer."""
    import tensorflow as tf

    matches = tf.strings.regex_full_match(text, DIGITS)
    digits = tf.strings.regex_replace(text, DIGITS, r"\1", replace_global=False)
    return tf.strings.to_number(tf.where(matches, digits, "0"), tf.int64), matches
