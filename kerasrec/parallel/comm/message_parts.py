"""Several tensors in one message to each rank, and sets of numbers as bits. TensorFlow only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kerasrec.typing import Tensor

_BITS = np.array([1 << bit for bit in range(8)], np.uint8)


def join(parts: Sequence[Tensor], lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return one message of several tensors, as `comm.alltoall` sends it.

    Args:
        parts: tensors of one dtype, each with the values for rank 0 first, then those for rank 1, and so on.
        lengths: (ranks, parts) int32: how many values of each part each rank gets.

    Returns:
        The message, (n,): for each rank its values of the first part, those of the second, and so on; and how
        many values each rank gets, (ranks,).
    """
    flat = [tf.reshape(part, (-1,)) for part in parts]
    rows = [tf.RaggedTensor.from_row_lengths(x, lengths[:, k], validate=False) for k, x in enumerate(flat)]
    return (rows[0] if len(rows) == 1 else tf.concat(rows, axis=1)).values, tf.reduce_sum(lengths, axis=1)


def cut(message: Tensor, lengths: Tensor) -> list[Tensor]:
    """Return the parts, (n,) each, of what was received of messages that `join` made."""
    rows = tf.RaggedTensor.from_row_lengths(message, tf.reshape(lengths, (-1,)), validate=False)
    return [rows[k :: lengths.shape[1]].values for k in range(lengths.shape[1])]


def to_bits(line: Tensor, place: Tensor, lines: int, size: int) -> Tensor:
    """Return sets of integers in [0, 8 * size), one set per line, as (lines, size) uint8 with a bit for each.

    Args:
        line, place: (n,) int64, distinct pairs: which set, and which integer is in it.
    """
    ones = tf.scatter_nd((line * size * 8 + place)[:, None], tf.ones_like(place, tf.uint8), [lines * size * 8])
    return tf.reduce_sum(tf.reshape(ones, (lines, size, 8)) * _BITS, axis=2)


def from_bits(bits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lines and the integers of the sets that `to_bits` made, (n,) int64 each, in their order."""
    ones = tf.bitwise.bitwise_and(bits[:, :, None], _BITS) > 0
    places = tf.where(tf.reshape(ones, (bits.shape[0], 8 * bits.shape[1])))
    return places[:, 0], places[:, 1]
