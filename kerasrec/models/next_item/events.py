"""`Events`: the sequences of a batch as flat tensors, and the items to predict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from keras import ops

from kerasrec.layers.embedding.bags import is_ragged
from kerasrec.layers.inputs import present
from kerasrec.layers.sequence.token_rows import TokenRows, is_packed, token_rows
from kerasrec.models.next_item.columns import SequenceColumns
from kerasrec.typing import Tensor


class Events(NamedTuple):
    """The events of a batch that a model reads, in flat tensors of one element per token.

    On TensorFlow rows are packed, the longest first. Elsewhere every row has as many tokens, padded at its end.

    Attributes:
        examples: one element for each prediction that counts in a step: by their number Keras weighs its loss.
            None where scores are asked for.
        weights: of the predictions, 1 or 0, `(tokens,)` in training and `(rows,)` in evaluation; None as well.
        items: the events' items, `(tokens,)`.
        lists: what else describes the events by column, `(tokens,)` each.
        scalars: the users' columns, `(rows,)` each, in the order of the rows here.
        lengths: of the rows, `(rows,)`.
        order: which row of the batch each row is, `(rows,)`.
    """

    examples: Tensor | None
    weights: Tensor | None
    items: Tensor
    lists: dict[str, Tensor]
    scalars: dict[str, Tensor]
    lengths: Tensor
    order: Tensor

    def rows(self) -> TokenRows:
        """Return the rows of the tokens."""
        if is_packed():
            return token_rows(self.lengths, None)
        return token_rows(self.lengths, self.items.shape[0] // self.lengths.shape[0])


class Following(NamedTuple):
    """What a model is trained to predict: the item after each event, `(tokens,)`."""

    items: Tensor


class LastItem(NamedTuple):
    """What a model is evaluated on, in the batch's order.

    Attributes:
        items: the last item of each row, `(rows,)`.
        seen: the items before it, `(rows, n)`, ragged or padded with 0.
    """

    items: Tensor
    seen: Tensor


class Evaluation(NamedTuple):
    """What a step of `evaluate` gives the model: all events of each row but the last, and the last item."""

    events: Events
    last: LastItem


class Ranked(NamedTuple):
    """What the model returns for an `Evaluation`, in the batch's order.

    Attributes:
        queries: the state after the events of each row, `(rows, dim)`.
        ranks: of the last item among all items, `(rows,)` int32, from 0.
    """

    queries: Tensor
    ranks: Tensor


class Sequences(NamedTuple):
    """The list columns of a batch, of which the events of a row are a range.

    Attributes:
        columns: values by column, flat, `(n,)` each.
        starts, stops: where each row's events lie in the columns, `(rows,)` int32.
    """

    columns: dict[str, Tensor]
    starts: Tensor
    stops: Tensor


def sequences_of(columns: SequenceColumns, features: Mapping[str, Tensor]) -> Sequences:
    """Return the list columns of a batch.

    Args:
        columns: those that the model reads.
        features: lists ragged, or padded with 0 at their end, where item 0 is padding.

    Raises:
        ValueError: a column is missing, or padded lists are of different widths.
        tf.errors.InvalidArgumentError: (TensorFlow) lists of a row differ in length.
    """
    lists = {name: present(features, name) for name in columns.lists}
    items = lists[columns.item]
    if is_ragged(items):
        return _of_ragged(columns, lists)
    if len(items.shape) != 2:
        raise ValueError(
            f"column {columns.item!r} must be padded ids (batch, length) or a ragged tensor; got shape "
            f"{tuple(items.shape)}"
        )
    for name, values in lists.items():
        if is_ragged(values) or tuple(values.shape[1:]) != tuple(items.shape[1:]):
            shape = "ragged" if is_ragged(values) else tuple(values.shape)
            raise ValueError(
                f"column {name!r} must have the shape of {columns.item!r}, {tuple(items.shape)}; got {shape}"
            )
    lengths = ops.sum(ops.cast(ops.not_equal(items, 0), "int32"), axis=1)
    width = items.shape[1] if isinstance(items.shape[1], int) else ops.shape(items)[1]
    starts = ops.arange(ops.shape(items)[0], dtype="int32") * width
    return Sequences(
        {name: ops.reshape(values, (-1,)) for name, values in lists.items()}, starts, starts + lengths
    )


def _of_ragged(columns: SequenceColumns, lists: Mapping[str, Any]) -> Sequences:
    import tensorflow as tf

    splits = lists[columns.item].row_splits
    flat, checks = {}, []
    for name, values in lists.items():
        if is_ragged(values):
            checks.append(
                tf.debugging.assert_equal(
                    values.row_splits,
                    splits,
                    f"lists of {name!r} and {columns.item!r} differ in length within a row",
                )
            )
            flat[name] = values.values
        else:  # a column of numbers whose rows are all of one length comes as (batch, length)
            flat[name] = tf.reshape(values, (-1,))
            checks.append(
                tf.debugging.assert_equal(
                    tf.size(flat[name], splits.dtype),
                    splits[-1],
                    f"lists of {name!r} and {columns.item!r} differ in length",
                )
            )
    with tf.control_dependencies([check for check in checks if check is not None]):
        splits = tf.cast(tf.identity(splits), tf.int32)
    return Sequences(flat, splits[:-1], splits[1:])
