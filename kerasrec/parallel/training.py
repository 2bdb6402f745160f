"""What a step shares between ranks besides rows: how much each rank's batch counts, and the dense gradients.

With b_r rows on rank r the loss of the global batch is `sum_r b_r loss_r / sum_r b_r`; a rank's gradients are
multiplied by its share `b_r / sum_r b_r` before they are added up, so short batches and empty ones count for what
they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from kerasrec.parallel import comm

_shares: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
_eager: list[Any] = []


def share_of(batch: Any) -> Any:
    """This rank's share of the global batch, a float64 scalar; remembered for `average` in the same step.

    Args:
        batch: the rows of this rank's batch, an int32 scalar.
    """
    import tensorflow as tf

    graph = _graph()
    if graph is not None and graph in _shares:
        return _shares[graph]
    # The clock, never before 1970, keeps the size of a batch of known shape from being a constant (see comm.py):
    # the other ranks' batches may be of other sizes every time.
    rows = tf.cast(batch, tf.float64) + tf.cast(tf.timestamp() < 0, tf.float64)
    (total,) = comm.allreduce([rows], "kerasrec.rows")
    share = tf.math.divide_no_nan(rows, total)
    if graph is None:
        _eager[:] = [share]
    else:
        _shares[graph] = share
    return share


def average(gradients: Sequence[Any]) -> list[Any]:
    """Dense gradients of this rank's mean loss -> those of the global batch's, in one message.

    In a step without table lookups nobody has told the size of the batch: then all ranks count alike.
    """
    import tensorflow as tf

    if comm.size() == 1 or not gradients:
        return list(gradients)
    share = _known_share()
    mine = [tf.math.multiply_no_nan(g, tf.cast(share, g.dtype)) for g in gradients]
    return comm.allreduce(mine, "kerasrec.gradients")


def gather(gradient: Any) -> Any:
    """This rank's `tf.IndexedSlices` of a table that every rank has whole -> those of all ranks, their mean's."""
    import tensorflow as tf

    values = tf.math.multiply_no_nan(gradient.values, tf.cast(_known_share(), gradient.values.dtype))
    return tf.IndexedSlices(
        comm.allgather(values, "kerasrec.slices"),
        comm.allgather(gradient.indices, "kerasrec.slice_rows"),
        gradient.dense_shape,
    )


def start_alike(variables: Sequence[Any]) -> None:
    """Give every rank rank 0's values of dense variables."""
    if comm.size() == 1 or not variables:
        return
    values = comm.broadcast([variable.value for variable in variables], 0, "kerasrec.start")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def settle(variables: Sequence[Any]) -> None:
    """Give every rank the mean over ranks of what each changes by its own rows, as a normalization does its moving
    averages. Values that are equal stay so to the bit, and whole numbers become rank 0's."""
    if comm.size() == 1 or not variables:
        return
    import tensorflow as tf

    start = [tf.identity(variable.value) for variable in variables]
    start_alike(variables)
    moving = [(v, mine) for v, mine in zip(variables, start, strict=True) if mine.dtype.is_floating]
    apart = [tf.where(mine == v.value, tf.zeros_like(mine), mine - v.value) for v, mine in moving]
    for (variable, _), total in zip(moving, comm.allreduce(apart, "kerasrec.apart"), strict=True):
        variable.assign_add(total / comm.size())


def _known_share() -> Any:
    import tensorflow as tf

    graph = _graph()
    share = (_eager[0] if _eager else None) if graph is None else _shares.get(graph)
    return tf.constant(1 / comm.size(), tf.float64) if share is None else share


def _graph() -> Any:
    """The graph being traced, or None."""
    import tensorflow as tf

    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
