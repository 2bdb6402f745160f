"""What a step shares between ranks besides rows: the dense gradients, and weights that must stay equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kerasrec.parallel import comm


def average(gradients: Sequence[Any]) -> list[Any]:
    """Dense gradients of this rank's mean loss -> those of the global batch's, in one message."""
    import tensorflow as tf

    if comm.size() == 1 or not gradients:
        return list(gradients)
    share = _share()
    mine = [tf.math.multiply_no_nan(g, tf.cast(share, g.dtype)) for g in gradients]
    return comm.allreduce(mine, "kerasrec.gradients")


def gather(gradient: Any) -> Any:
    """This rank's `tf.IndexedSlices` of a table that every rank has whole -> those of all ranks, their mean's."""
    import tensorflow as tf

    values = tf.math.multiply_no_nan(gradient.values, tf.cast(_share(), gradient.values.dtype))
    return tf.IndexedSlices(
        comm.allgather(values, "kerasrec.slices"),
        comm.allgather(gradient.indices, "kerasrec.slice_rows"),
        gradient.dense_shape,
    )


def broadcast_weights(variables: Sequence[Any]) -> None:
    """Give every rank rank 0's values of dense variables."""
    if comm.size() == 1 or not variables:
        return
    values = comm.broadcast([variable.value for variable in variables], 0, "kerasrec.start")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def average_weights(variables: Sequence[Any]) -> None:
    """Give every rank the mean over ranks of what each changes by its own rows, as a normalization does its moving
    averages. Values that are equal stay so to the bit, and whole numbers become rank 0's."""
    if comm.size() == 1 or not variables:
        return
    import tensorflow as tf

    start = [tf.identity(variable.value) for variable in variables]
    broadcast_weights(variables)
    moving = [(v, mine) for v, mine in zip(variables, start, strict=True) if mine.dtype.is_floating]
    apart = [tf.where(mine == v.value, tf.zeros_like(mine), mine - v.value) for v, mine in moving]
    for (variable, _), total in zip(moving, comm.allreduce(apart, "kerasrec.apart"), strict=True):
        variable.assign_add(total / comm.size())


def _share() -> Any:
    from kerasrec.parallel.comm.batch_share import current_share  # it needs TensorFlow, as one rank does not

    return current_share()
