"""`EventReader`: the events that a model reads of a batch, to train on, to be evaluated on, and to predict by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keras import ops

from kerasrec.layers.inputs import present
from kerasrec.layers.sequence.token_rows import is_packed
from kerasrec.models.next_item.columns import SequenceColumns
from kerasrec.models.next_item.events import Events, Following, LastItem, Sequences, sequences_of
from kerasrec.typing import Tensor

BLANK = 0  # the id in the place of an item that is asked for, which no item has


@dataclass(frozen=True)
class EventReader:
    """Reads the last events of each row of a batch.

    Args:
        columns: those that the model reads.
        max_length: the most events per row.
        first_id: the first id that is an item.
        blank: whether each row ends with a blank event, in whose place the next item is asked for.
    """

    columns: SequenceColumns
    max_length: int
    first_id: int
    blank: bool = False

    def scoring(self, features: Mapping[str, Tensor]) -> Events:
        """Return the events of a batch."""
        return self.read(features, sequences_of(self.columns, features), 0, self.blank)[0]

    def training(self, features: Mapping[str, Tensor]) -> tuple[Events, Following]:
        """Return all events of each row but the last, and the item after each, which counts if it is an item."""
        sequences = sequences_of(self.columns, features)
        events, places = self.read(features, sequences, 1)
        items = sequences.columns[self.columns.item]
        items = ops.take(items, ops.minimum(places + 1, ops.maximum(ops.shape(items)[0] - 1, 0)), axis=0)
        return self.weighted(events, items >= self.first_id), Following(items)

    def evaluation(self, features: Mapping[str, Tensor]) -> tuple[Events, LastItem]:
        """Return all events of each row but the last, and the last item, which counts unless there is none."""
        sequences = sequences_of(self.columns, features)
        events, _ = self.read(features, sequences, 1, self.blank)
        weights = ops.cast(sequences.stops > sequences.starts, "float32")
        items, last = sequences.columns[self.columns.item], ops.maximum(sequences.stops - 1, 0)
        if is_packed():
            import tensorflow as tf

            seen = tf.ragged.range(sequences.starts, tf.maximum(last, sequences.starts))
            seen = seen.with_values(tf.gather(items, seen.values))
            last_items = tf.gather(tf.pad(items, [[0, 1]]), last)
        else:
            seen = ops.reshape(items, (sequences.starts.shape[0], -1))
            before = ops.arange(seen.shape[1], dtype="int32")[None] < (last - sequences.starts)[:, None]
            seen = ops.where(before, seen, ops.zeros_like(seen))
            last_items = ops.take(items, last, axis=0)
        return _weighted(events, weights), LastItem(last_items, seen)

    def weighted(self, events: Events, counts: Tensor) -> Events:
        """Return events with the predictions that count, `(tokens,)` bool; those at padding do not."""
        if not is_packed():
            counts = ops.logical_and(counts, events.rows().mask())
        return _weighted(events, ops.cast(counts, "float32"))

    def read(
        self, features: Mapping[str, Tensor], sequences: Sequences, without: int, blank: bool = False
    ) -> tuple[Events, Tensor]:
        """Return the last events of each row, and the place of each in the sequences' columns, `(tokens,)`.

        Args:
            features: the batch.
            sequences: its list columns.
            without: how many events are left out at the end of each row.
            blank: whether each row has a blank event at its end, of which all list columns are 0.
        """
        stops = ops.maximum(sequences.stops - without, sequences.starts)
        lengths = ops.minimum(stops - sequences.starts, self.max_length - blank) + int(blank)
        starts = stops + int(blank) - lengths
        names = (*self.columns.user_ids, *self.columns.user_numbers)
        scalars = {name: ops.reshape(present(features, name), (-1,)) for name in names}
        if is_packed():
            import tensorflow as tf

            order = tf.argsort(-lengths, stable=True)
            lengths, starts = tf.gather(lengths, order), tf.gather(starts, order)
            scalars = {name: tf.gather(values, order) for name, values in scalars.items()}
            step = tf.range(tf.reduce_sum(lengths)) - tf.repeat(tf.cumsum(lengths, exclusive=True), lengths)
            places, left = tf.repeat(starts, lengths) + step, tf.repeat(lengths, lengths) - step
        else:
            order = ops.arange(ops.shape(lengths)[0], dtype="int32")
            step = ops.arange(self.max_length, dtype="int32")[None]
            # Places beyond a row's own length are padding, on which no result depends.
            last = ops.maximum(starts + lengths - 1, 0)
            places = ops.reshape(ops.minimum(starts[:, None] + step, last[:, None]), (-1,))
            left = ops.reshape(lengths[:, None] - step, (-1,))
        values = self._values(sequences, places, left == 1 if blank else None)
        items = values.pop(self.columns.item)
        return Events(None, None, items, values, scalars, lengths, order), places

    def _values(self, sequences: Sequences, places: Tensor, is_blank: Tensor | None) -> dict[str, Tensor]:
        columns = sequences.columns
        if is_blank is not None:
            columns = {name: ops.pad(each, [[0, 1]]) for name, each in columns.items()}
            after = ops.shape(columns[self.columns.item])[0] - 1
            places = ops.where(is_blank, ops.cast(after, places.dtype), places)
        return {name: ops.take(each, places, axis=0) for name, each in columns.items()}


def _weighted(events: Events, weights: Tensor) -> Events:
    examples = weights
    if is_packed():
        import tensorflow as tf

        examples = tf.boolean_mask(weights, weights > 0)
    return events._replace(examples=examples, weights=weights)


def in_batch_order(x: Tensor, events: Events) -> Tensor:
    """Return one of each row of `events` in the order of the batch's rows."""
    return ops.take(x, ops.argsort(events.order), axis=0) if is_packed() else x
