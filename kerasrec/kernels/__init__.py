"""The inner loops of a training step on a CPU, compiled; TensorFlow's own operations where that cannot be.

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
        library = tf.load_op_library(str(build.library()))
    except (OSError, tf.errors.OpError) as error:
        _log.warning("training goes without kerasrec's compiled CPU kernels, somewhat slower: %s", error)
        return None
    tf.RegisterGradient("KerasrecReadRows")(_read_rows_gradient)
    return library


def read_rows(table: Any, rows: Any, dtype: Any) -> Any:
    """`table[rows]`, or None where these kernels are not to be had.

    Its gradient is a `tf.IndexedSlices` of distinct rows, summed in float32.

    Args:
        table: a `tf.Variable`, float32 (size, width).
        rows: (n,) int32 or int64.
        dtype: of the result (n, width), float32 or bfloat16.
    """
    import tensorflow as tf

    if not _fits(table) or dtype not in (tf.float32, tf.bfloat16):
        return None
    table.sparse_read(rows[:0])  # tells gradient tapes of the variable: an operation on its handle alone does not
    return compiled().kerasrec_read_rows(table=table.handle, rows=rows, width=table.shape[1], T=dtype)


def _read_rows_gradient(op: Any, upstream: Any) -> list[Any]:
    import tensorflow as tf

    table, rows = op.inputs
    distinct, position = compiled().kerasrec_distinct_rows(rows=rows)
    sums = compiled().kerasrec_sum_rows(values=upstream, position=position, distinct=distinct)
    return [tf.IndexedSlices(sums, distinct, tf.raw_ops.VariableShape(input=table)), None]


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

    if not _fits(table):
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


def _fits(table: Any) -> bool:
    import tensorflow as tf

    return table.dtype == tf.float32 and "GPU" not in table.device and compiled() is not None
