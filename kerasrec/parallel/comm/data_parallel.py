"""What ranks share besides rows of tables: dense gradients, and weights that must stay equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kerasrec.parallel import comm
from kerasrec.typing import Tensor, Variable

if TYPE_CHECKING:
    import tensorflow as tf


def average(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients of the global batch's mean loss, from those of this rank's, in one message.

    Args:
        gradients: dense; each rank's count by its share of the global batch.
    """
    import tensorflow as tf

    if comm.size() == 1 or not gradients:
        return list(gradients)
    share = _share()
    weighted = [tf.math.multiply_no_nan(g, tf.cast(share, g.dtype)) for g in gradients]
    return comm.allreduce(weighted, "kerasrec.gradients")


def gather(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    """Return all ranks' slices of the gradient of a table of which every rank has all rows, each by its share."""
    import tensorflow as tf

    values = tf.math.multiply_no_nan(gradient.values, tf.cast(_share(), gradient.values.dtype))
    return tf.IndexedSlices(
        comm.allgather(values, "kerasrec.slices"),
        comm.allgather(gradient.indices, "kerasrec.slice_rows"),
        gradient.dense_shape,
    )


def broadcast_weights(variables: Sequence[Variable]) -> None:
    """Give every rank rank 0's values of dense variables."""
    if comm.size() == 1 or not variables:
        return
    values = comm.broadcast([variable.value for variable in variables], 0, "kerasrec.start")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def average_weights(variables: Sequence[Variable]) -> None:
    """Give every rank the mean over ranks of weights that follow each rank's own rows, such as moving averages.

    Values that are equal on all ranks stay equal to the bit, and integers become rank 0's.
    """
    if comm.size() == 1 or not variables:
        return
    import tensorflow as tf

    local = [tf.identity(variable.value) for variable in variables]
    broadcast_weights(variables)
    floating = [(v, value) for v, value in zip(variables, local, strict=True) if value.dtype.is_floating]
    differences = [tf.where(value == v.value, tf.zeros_like(value), value - v.value) for v, value in floating]
    for (variable, _), total in zip(floating, comm.allreduce(differences, "kerasrec.apart"), strict=True):
        variable.assign_add(total / comm.size())


def _share() -> Tensor:
    from kerasrec.parallel.comm.batch_share import current_share  # imports TensorFlow, which one rank may not have

    return current_share()
