"""All ranks' rows on every rank, with gradients back to the rank that each row came from. TensorFlow only."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from kerasrec.gradients import Operation
from kerasrec.parallel import comm
from kerasrec.typing import Tensor


def gather_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return all ranks' rows in the order of ranks, and the place of this rank's first among them.

    The loss of the global batch is the mean of ranks' losses weighted by their rows, `sum_r n_r loss_r / sum_r
    n_r`. What ranks add to the gradient of a row is weighted in the same way, so that the gradient which reaches
    the rank that the row came from, and counts by that rank's share, is the one that a single process would have.
    Every rank must call it, and must compute gradients if one does.

    Args:
        rows: floating, (n_r, ...): as many as the rank's loss is the mean over.
    """
    # The clock, never before 1970, keeps the size of a batch of known shape from being a constant (see
    # collectives.py): the other ranks' batches may be of other sizes every time.
    own = tf.shape(rows, tf.int64)[:1] + tf.cast(tf.timestamp() < 0, tf.int64)
    counts = comm.allgather(own, "kerasrec.gather_counts")
    first = tf.reduce_sum(counts[: comm.rank()])
    (gathered,) = _GATHER([rows, counts])
    return gathered, first


def _gather(inputs: Sequence[Tensor]) -> list[Tensor]:
    rows, _ = inputs
    return [comm.allgather(rows, "kerasrec.gather")]


def _scatter(inputs: Sequence[Tensor], upstream: Sequence[Tensor]) -> list[Tensor | None]:
    _, counts = inputs
    gradient = tf.convert_to_tensor(upstream[0])
    rows = counts[comm.rank()]
    own = tf.cast(rows, gradient.dtype)
    received, _ = comm.alltoall(gradient * own, counts, "kerasrec.scatter")
    shape = tf.concat([[comm.size(), rows], tf.shape(gradient, tf.int64)[1:]], 0)
    return [tf.math.divide_no_nan(tf.reduce_sum(tf.reshape(received, shape), 0), own), None]


_GATHER = Operation("KerasrecGatherRows", _gather, _scatter)
