"""How much of the global batch is this rank's: known to a step, and to nobody else.

With b_r rows on rank r the loss of the global batch is `sum_r b_r loss_r / sum_r b_r`, so a rank's gradients are
multiplied by its share `b_r / sum_r b_r` before they are added up. `fit` tells each step its rows (`fit_step`),
and a loop of one's own may (`step`). Where nobody does, the layers that look up tables know the rows of their
inputs, and the optimizer asks the layers whose gradients it applies (`LookupShare`). A share that nobody knows is
an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from kerasrec.gradients import Operation
from kerasrec.parallel import comm

REMEDY = (
    "Put what computes and applies these gradients in `with kr.parallel.step(rows):`, inside the tf.function if "
    "there is one; rows are those of this rank's batch"
)
UNKNOWN = (
    "this update has gradients to average over ranks, but how much each rank's count is unknown: none of its own "
    f"tables was looked up for them by a DistributedEmbedding with training=True. {REMEDY}"
)
UNEQUAL = (
    "this update adds up gradients of several batches, of which this rank has different shares, so that no one "
    "share is right. Update after each batch, or put all of it in `with kr.parallel.step(rows):` where rows are "
    "those of all its batches, and weigh each batch's mean loss by its part of these rows"
)
FEWER = (
    "fewer rows are looked up than the batch of this step has, as when a train_step cuts it up: a part's share of "
    "the global batch may be another. Put what computes and applies a part's gradients in "
    "`with kr.parallel.step(rows):`, with the rows of the part"
)
OUTSIDE = (
    "`with kr.parallel.step(rows):` stands outside of the tf.function that is being traced, which would keep the "
    "first step's share for good. Put it inside"
)


def share_of(rows: Any) -> Any:
    """This rank's share of the global batch, a float64 scalar; every rank must call it.

    Args:
        rows: of this rank's batch, an integer or an integer scalar.
    """
    # The clock, never before 1970, keeps the size of a batch of known shape from being a constant (see comm.py):
    # the other ranks' batches may be of other sizes every time.
    rows = tf.cast(rows, tf.float64) + tf.cast(tf.timestamp() < 0, tf.float64)
    (total,) = comm.allreduce([rows], "kerasrec.rows")
    return tf.math.divide_no_nan(rows, total)


@dataclass(frozen=True)
class Step:
    """One step's batch.

    Args:
        share: this rank's of the global batch.
        rows: of this rank's batch, where lookups are to be checked against it.
    """

    share: Any
    rows: Any = None

    def known(self) -> Any:
        """The share, for use in the graph that is being traced."""
        if not tf.executing_eagerly() and tf.is_tensor(self.share) and not tf.is_symbolic_tensor(self.share):
            raise RuntimeError(OUTSIDE)
        return self.share

    def of_lookup(self, rows: Any) -> Any:
        """The share, once it is sure that the lookup of so many rows is not one of a part of the batch."""
        if self.rows is None:
            return self.known()
        return _only_if(tf.cast(rows, tf.int64) >= tf.cast(self.rows, tf.int64), FEWER, self.known())


_current: ContextVar[Step | None] = ContextVar("kerasrec_step", default=None)


@contextmanager
def step(rows: Any) -> Iterator[None]:
    """Tell how many rows this rank's batch has, in a training loop of your own on several ranks.

    Gradients that are computed and applied within count for `rows` of the rows of all ranks. `fit` and
    `train_on_batch` need nothing, and nor does a loop whose every update applies the gradients of one batch that
    `DistributedEmbedding` layers look up. Any other is refused until it tells its rows: a step without lookups, a
    train_step that cuts its batch up, an update by several batches of which ranks have unequal shares. The
    innermost one counts. Every rank must enter it, and on one rank it does nothing.

    Args:
        rows: how many rows the loss is the mean over on this rank, an integer or an integer scalar; 0 or more.

    Example, one update by the gradients of two batches, a and b, of any number of rows on each rank:

    >>> rows = len(y_a) + len(y_b)  # doctest: +SKIP
    >>> with kr.parallel.step(rows):  # doctest: +SKIP
    ...     with tf.GradientTape() as tape:
    ...         a, b = (loss(y, model(x, training=True)) for x, y in ((x_a, y_a), (x_b, y_b)))
    ...         mean = a * len(y_a) / rows + b * len(y_b) / rows
    ...     optimizer.apply(tape.gradient(mean, variables), variables)
    """
    if comm.size() == 1:
        yield
        return
    with _within(Step(share_of(rows))):
        yield


@contextmanager
def fit_step(rows: Any) -> Iterator[None]:
    """The same by Keras's own training loop, whose batch a `train_step` may cut up: lookups are checked."""
    with _within(Step(share_of(rows), rows)):
        yield


@contextmanager
def _within(new: Step) -> Iterator[None]:
    token = _current.set(new)
    try:
        yield
    finally:
        _current.reset(token)


class LookupShare:
    """The shares of the batches whose gradients a layer has computed since the last update.

    They are in a variable, since gradients may be computed in another graph than that in which they are applied:
    their number, their sum and that of their squares, which come out right in whatever order they are told.
    """

    def __init__(self) -> None:
        with tf.init_scope():
            self.totals = tf.Variable(tf.zeros(3, tf.float64), trainable=False, name="kerasrec_share")

    def of_batch(self, rows: Any) -> BatchShare:
        """Return the share of a batch of `rows` rows that is being looked up."""
        now = _current.get()
        return BatchShare(share_of(rows), self.totals.handle) if now is None else BatchShare(now.of_lookup(rows))


class BatchShare(NamedTuple):
    """This rank's share of a batch whose rows of tables are being looked up.

    Args:
        value: the share, a float64 scalar.
        totals: the handle of the variable that adds it up when gradients are computed (`LookupShare.totals`);
            None where the step knows its share.
    """

    value: Any
    totals: Any = None

    def scale_gradients(self, vectors: Sequence[Any]) -> list[Any]:
        """Return the vectors that were looked up; in the backward pass their gradients times the share."""
        totals = [] if self.totals is None else [self.totals]
        return _SCALED([*vectors, self.value, *totals], count=len(vectors))


def _vectors(inputs: Sequence[Any], count: int) -> Sequence[Any]:
    return inputs[:count]


def _scaled_gradients(inputs: Sequence[Any], upstream: Sequence[Any], count: int) -> list[Any]:
    share, *totals = inputs[count:]
    gradients = [tf.convert_to_tensor(each) for each in upstream]
    gradients = [tf.math.multiply_no_nan(each, tf.cast(share, each.dtype)) for each in gradients]
    if totals:
        add = tf.raw_ops.AssignAddVariableOp(
            resource=totals[0], value=tf.stack([tf.ones_like(share), share, share**2])
        )
        with tf.control_dependencies([] if add is None else [add]):
            gradients = [tf.identity(each) for each in gradients]
    return [*gradients, *([None] * (len(inputs) - count))]


_SCALED = Operation("KerasrecBatchShare", _vectors, _scaled_gradients)


@contextmanager
def update_step(layers: Iterable[LookupShare], tables: Iterable[Any], dense: Sequence[Any]) -> Iterator[None]:
    """The step of an update: the one that is under way, or that of the batch whose gradients are applied.

    Args:
        layers: those whose tables are updated.
        tables: the gradients of these tables.
        dense: the gradients that a share must be known for.

    Raises:
        RuntimeError, tf.errors.InvalidArgumentError: (eagerly, in a graph) it must, and is not.
    """
    if _current.get() is not None:
        yield
        return
    totals = _taken(layers, tables)
    if not dense:
        yield
        return
    share = _share_of_totals(totals) if totals else _share_behind(dense)
    with _within(Step(share)), tf.control_dependencies([share]):  # what is refused changes nothing
        yield


def _taken(layers: Iterable[LookupShare], gradients: Iterable[Any]) -> list[Any]:
    """What layers were told until some gradients were computed; they begin anew."""
    with tf.control_dependencies([tf.convert_to_tensor(each) for each in gradients]):
        totals = [each.totals.read_value() for each in layers]
    with tf.control_dependencies(totals):
        for each in layers:
            each.totals.assign(tf.zeros(3, tf.float64))
    return totals


def _share_of_totals(totals: list[Any]) -> Any:
    number, total, squares = tf.unstack(tf.add_n(totals))
    share = _only_if(number > 0, UNKNOWN, tf.math.divide_no_nan(total, number))
    apart = tf.math.divide_no_nan(squares, number) - share * share
    return _only_if(apart < 1e-14, UNEQUAL, share)


def _share_behind(gradients: Sequence[Any]) -> Any:
    """Of an optimizer of dense weights alone, in the graph that has its gradients: this shows what they are of."""
    shares = [] if tf.executing_eagerly() else _shares_behind(gradients)
    if not shares:
        raise RuntimeError(UNKNOWN)
    apart = tf.reduce_max(shares) - tf.reduce_min(shares)
    return _only_if(apart < 1e-7, UNEQUAL, shares[0])


def _shares_behind(gradients: Sequence[Any]) -> list[Any]:
    """Return the shares of the batches whose lookups some gradients were computed from.

    They are found in the graph that is being traced, and only if they were looked up there.
    """
    shares: dict[int, Any] = {}
    todo = [each.op for each in map(tf.convert_to_tensor, gradients)]
    seen = set(todo)
    while todo:
        op = todo.pop()
        call = _SCALED.called_in(op)
        if call is None:
            above = {each.op for each in op.inputs} - seen
            seen |= above
            todo += above
            continue
        inputs, facts = call
        share, *totals = inputs[facts["count"] :]
        if totals:  # the step itself does not know it
            shares[id(share)] = share
    return list(shares.values())


def current_share() -> Any:
    """This rank's share of the global batch of the step that is under way."""
    now = _current.get()
    if now is None:
        raise RuntimeError(UNKNOWN)
    return now.known()


def _only_if(condition: Any, message: str, value: Any) -> Any:
    """`value`, where the condition holds; else its message is raised: at once, or by the graph."""
    if tf.executing_eagerly():
        if not bool(condition):
            raise RuntimeError(message)
        return value
    with tf.control_dependencies([tf.raw_ops.Assert(condition=condition, data=[message])]):
        return tf.identity(value)
