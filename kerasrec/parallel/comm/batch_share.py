"""This rank's share of the global batch, an object of the step that trains on the batch.

With b_r rows on rank r the loss of the global batch is `sum_r b_r loss_r / sum_r b_r`, so a rank's gradients are
multiplied by its share `b_r / sum_r b_r` before they are added up. `fit` gives each step the rows of its batch
(`fit_step`), and a training loop of your own may (`step`). Without either, the layers that look up tables know the
rows of their inputs, and the optimizer asks the layers whose gradients it applies (`LookupShare`). An unknown
share is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from kerasrec.gradients import Operation
from kerasrec.parallel import comm
from kerasrec.typing import Tensor

REMEDY = (
    "Fit a kr.parallel.Model; in a loop of your own put what computes and applies these gradients in "
    "`with kr.parallel.step(rows):`, inside the tf.function if there is one, with the rows of this rank's batch"
)
UNKNOWN = (
    "the weight of this rank's gradients among all ranks' is unknown: no DistributedEmbedding of this optimizer's "
    f"looked up rows for them with training=True. {REMEDY}"
)
UNEQUAL = (
    "this update adds up gradients of several batches, of which this rank has different shares, so no single "
    "share is right. Update after each batch, or put the whole update in `with kr.parallel.step(rows):`, with the "
    "rows of all its batches, and weigh each batch's mean loss by its part of these rows"
)
FEWER = (
    "fewer rows are looked up than the batch of this step has, as when a train_step splits it: the share of a "
    "part may differ from the share of the batch. Put what computes and applies a part's gradients in "
    "`with kr.parallel.step(rows):`, with the rows of the part"
)
OUTSIDE = (
    "`with kr.parallel.step(rows):` is outside of the tf.function that is being traced, which would keep the "
    "first step's share for good. Put it inside"
)


def share_of(rows: Tensor | int) -> Tensor:
    """Return this rank's share of the global batch, a float64 scalar; every rank must call it.

    Args:
        rows: of this rank's batch, an integer or an integer scalar.
    """
    # The clock, never before 1970, keeps the size of a batch of known shape from being a constant (see
    # collectives.py): the other ranks' batches may be of other sizes every time.
    rows = tf.cast(rows, tf.float64) + tf.cast(tf.timestamp() < 0, tf.float64)
    (total,) = comm.allreduce([rows], "kerasrec.rows")
    return tf.math.divide_no_nan(rows, total)


@dataclass(frozen=True)
class Step:
    """The batch that a step trains on.

    Args:
        share: this rank's share of the global batch.
        rows: the rows of this rank's batch, where lookups are to be checked against it.
    """

    share: Tensor
    rows: Tensor | None = None

    def current_share(self) -> Tensor:
        """Return the share, for use in the graph that is being traced."""
        if not tf.executing_eagerly() and tf.is_tensor(self.share) and not tf.is_symbolic_tensor(self.share):
            raise RuntimeError(OUTSIDE)
        return self.share

    def share_of_lookup(self, rows: Tensor) -> Tensor:
        """Return the share, after a check that a lookup of so many rows is not of a part of the batch."""
        if self.rows is None:
            return self.current_share()
        is_whole = tf.cast(rows, tf.int64) >= tf.cast(self.rows, tf.int64)
        return _checked(is_whole, FEWER, self.current_share())


_current: ContextVar[Step | None] = ContextVar("kerasrec_step", default=None)


@contextmanager
def step(rows: Tensor | int) -> Iterator[None]:
    """Give the number of rows of this rank's batch, in a training loop of your own on several ranks.

    Gradients that are computed and applied within count for `rows` of the rows of all ranks. `fit` and
    `train_on_batch` of a `kr.parallel.Model` need nothing, nor does a loop in which every update applies the
    gradients of one batch that `DistributedEmbedding` layers look up. Any other is refused without it: a step
    without lookups, a `train_step` that splits its batch, an update by several batches of which ranks have unequal
    shares. The innermost one counts. Every rank must enter it; on one rank it does nothing.

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
def fit_step(rows: Tensor | int) -> Iterator[None]:
    """Do the same in Keras's training loop, whose batch a `train_step` may split: lookups are checked."""
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

    A variable holds their number, their sum and the sum of their squares, since gradients may be computed in
    another graph than the one in which they are applied. These come out the same in any order of the batches.
    """

    def __init__(self) -> None:
        with tf.init_scope():
            self.totals = tf.Variable(tf.zeros(3, tf.float64), trainable=False, name="kerasrec_share")

    def of_batch(self, rows: Tensor) -> BatchShare:
        """Return the share of a batch of `rows` rows that is being looked up."""
        step = _current.get()
        if step is None:
            return BatchShare(share_of(rows), self.totals.handle)
        return BatchShare(step.share_of_lookup(rows))


class BatchShare(NamedTuple):
    """This rank's share of a batch whose rows of tables are being looked up.

    Args:
        value: the share, a float64 scalar.
        totals: the handle of the variable that adds it up when gradients are computed (`LookupShare.totals`);
            None where the step knows its share.
    """

    value: Tensor
    totals: Tensor | None = None

    def scale_gradients(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        """Return the vectors that were looked up; in the backward pass their gradients times the share."""
        totals = [] if self.totals is None else [self.totals]
        return _SCALED([*vectors, self.value, *totals], count=len(vectors))


def _vectors(inputs: Sequence[Tensor], count: int) -> Sequence[Tensor]:
    return inputs[:count]


def _scaled_gradients(inputs: Sequence[Tensor], upstream: Sequence[Tensor], count: int) -> list[Tensor | None]:
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
def update_step(
    layers: Iterable[LookupShare], tables: Iterable[Tensor], dense: Sequence[Tensor]
) -> Iterator[None]:
    """Enter the step of an update: the current one, or that of the batch whose gradients are applied.

    Args:
        layers: those whose tables are updated.
        tables: the gradients of these tables.
        dense: the gradients that are to be multiplied by the share.

    Raises:
        RuntimeError, tf.errors.InvalidArgumentError: (eagerly, in a graph) the share is needed and unknown.
    """
    if _current.get() is not None:
        yield
        return
    totals = _read_and_reset(layers, tables)
    if not dense:
        yield
        return
    share = _share_of_totals(totals) if totals else _share_behind(dense)
    with _within(Step(share)), tf.control_dependencies([share]):  # what is refused changes nothing
        yield


def _read_and_reset(layers: Iterable[LookupShare], gradients: Iterable[Tensor]) -> list[Tensor]:
    """Return the layers' totals as of when some gradients were computed, and set them to zero."""
    with tf.control_dependencies([tf.convert_to_tensor(each) for each in gradients]):
        totals = [layer.totals.read_value() for layer in layers]
    with tf.control_dependencies(totals):
        for layer in layers:
            layer.totals.assign(tf.zeros(3, tf.float64))
    return totals


def _share_of_totals(totals: list[Tensor]) -> Tensor:
    number, total, squares = tf.unstack(tf.add_n(totals))
    share = _checked(number > 0, UNKNOWN, tf.math.divide_no_nan(total, number))
    variance = tf.math.divide_no_nan(squares, number) - share * share
    return _checked(variance < 1e-14, UNEQUAL, share)


def _share_behind(gradients: Sequence[Tensor]) -> Tensor:
    """Return the share for an optimizer of dense weights alone, by the graph that computes its gradients."""
    shares = [] if tf.executing_eagerly() else _shares_behind(gradients)
    if not shares:
        raise RuntimeError(UNKNOWN)
    difference = tf.reduce_max(shares) - tf.reduce_min(shares)
    return _checked(difference < 1e-7, UNEQUAL, shares[0])


def _shares_behind(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Return the shares of the batches whose lookups some gradients were computed from.

    They are found in the graph that is being traced, and only if they were looked up there.
    """
    shares: dict[int, Tensor] = {}
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
        inputs, settings = call
        share, *totals = inputs[settings["count"] :]
        if totals:  # the step itself does not know it
            shares[id(share)] = share
    return list(shares.values())


def current_share() -> Tensor:
    """Return this rank's share of the global batch of the current step."""
    step = _current.get()
    if step is None:
        raise RuntimeError(UNKNOWN)
    return step.current_share()


def _checked(condition: Tensor, message: str, value: Tensor) -> Tensor:
    """Return `value` where the condition holds; else raise with the message, at once or when the graph runs."""
    if tf.executing_eagerly():
        if not bool(condition):
            raise RuntimeError(message)
        return value
    with tf.control_dependencies([tf.raw_ops.Assert(condition=condition, data=[message])]):
        return tf.identity(value)
