"""Numbers in few bytes, as they travel between ranks. TensorFlow only."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

_BITS = np.array([1 << bit for bit in range(8)], np.uint8)


def pack(numbers: Any, size: int) -> Any:
    """(n,) int64 from 0 on -> (n, size) uint8, the low bytes, lowest first."""
    return tf.bitcast(numbers, tf.uint8)[:, :size]


def unpack(packed: Any) -> Any:
    """(n, size) uint8 -> (n,) int64."""
    return tf.bitcast(tf.pad(packed, [[0, 0], [0, 8 - packed.shape[1]]]), tf.int64)


def to_bits(line: Any, place: Any, lines: int, size: int) -> Any:
    """Sets of numbers below 8 x size, one a line -> (lines, size) uint8 with a bit for each number that is there.

    Args:
        line, place: (n,) int64, distinct pairs: which set, which number.
    """
    there = tf.scatter_nd((line * size * 8 + place)[:, None], tf.ones_like(place, tf.uint8), [lines * size * 8])
    return tf.reduce_sum(tf.reshape(there, (lines, size, 8)) * _BITS, axis=2)


def from_bits(bits: Any) -> tuple[Any, Any]:
    """The sets of `to_bits`: lines and numbers, (n,) int64 each, in their order."""
    there = tf.bitwise.bitwise_and(bits[:, :, None], _BITS) > 0
    found = tf.where(tf.reshape(there, (bits.shape[0], 8 * bits.shape[1])))
    return found[:, 0], found[:, 1]
