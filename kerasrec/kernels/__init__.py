"""The two inner loops of a training step on a CPU, compiled; TensorFlow's own operations where that cannot be.

They run in training only: an exported SavedModel holds nothing of them. Without a C++ compiler, with
`KERASREC_KERNELS=0`, or for variables on a GPU the same arithmetic is done by TensorFlow's operations.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from typing import Any

from kerasrec.kernels import build

_log = logging.getLogger("kerasrec")


@cache
def compiled() -> Any:
    """The module of compiled operations, or None."""
    if os.environ.get("KERASREC_KERNELS") == "0":
        return None
    import tensorflow as tf

    try:
        return tf.load_op_library(str(build.library()))
    except (OSError, tf.errors.OpError) as error:
        _log.warning("training goes without kerasrec's compiled CPU kernels, somewhat slower: %s", error)
        return None


def sum_rows(values: Any, position: Any, like: Any) -> Any:
    """`sums[r]` is the sum of the `values[i]` whose `position[i]` is r.

    Args:
        values: (n, width) float32 or bfloat16.
        position: (n,) int32, each in [0, rows).
        like: (rows, width) float32; only its shape matters.

    Returns:
        (rows, width) float32, whatever `values` are.
    """
    import tensorflow as tf

    if not _on_gpu() and compiled() is not None and values.dtype in (tf.float32, tf.bfloat16):
        return compiled().kerasrec_sum_rows(values=values, position=position, like=like)
    return tf.math.unsorted_segment_sum(tf.cast(values, like.dtype), position, tf.shape(like)[0])


def adagrad_rows(
    table: Any, accumulator: Any, rows: Any, gradient: Any, learning_rate: Any, epsilon: float
) -> bool:
    """Adagrad's step on distinct `rows` of two `tf.Variable`s, in place; false where it is not to be had.

    Args:
        table, accumulator: float32 (size, width).
        rows: (n,) int32 or int64.
        gradient: (n, width) float32.
    """
    import tensorflow as tf

    if table.dtype != tf.float32 or "GPU" in table.device or compiled() is None:
        return False
    compiled().kerasrec_adagrad_rows(
        table=table.handle,
        accumulator=accumulator.handle,
        rows=rows,
        gradient=gradient,
        learning_rate=tf.cast(learning_rate, tf.float32),
        epsilon=epsilon,
    )
    return True


def _on_gpu() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))
