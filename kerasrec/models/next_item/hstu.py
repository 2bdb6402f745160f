"""HSTU: pointwise attention without a softmax, gated by the input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers.mlp import at_least_one
from kerasrec.layers.sequence.dropout import Dropout
from kerasrec.layers.sequence.token_attention import earlier, join_heads, split_heads
from kerasrec.layers.sequence.token_positions import TokenPositions, take_rows
from kerasrec.layers.sequence.token_rows import TokenRows
from kerasrec.models.base import chain
from kerasrec.models.next_item.base import NextItemModel
from kerasrec.models.next_item.events import Events
from kerasrec.schema import Schema
from kerasrec.typing import Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class HSTU(NextItemModel):
    """Hierarchical sequential transduction units.

    With an event's vector `e_t` and `P` trained vectors of places, counted from the end of a sequence:
    `x = dropout(sqrt(dim) e_t + P)`, then `blocks` times, per head:

        u, v, q, k = silu(W norm(x))
        a_ts = silu(q_t . k_s + b_{t - s} + c_{n(t, s)}) / max_length      for s <= t
        x = x + W_o dropout(norm(a v) * u)

    with a trained bias `b` per distance and, if there is a column of times, `c` per logarithm of the time between
    the events: `n(t, s) = floor(log(max(1, |time_t - time_s|)) / 0.301)`, the last of `time_buckets` for more.
    Sums that are not normalised by a softmax keep how often something happened. The state after an event is
    `norm(x)`, and an item's score its dot product with the item's vector.

    Args:
        schema: `loader.schema`: a list column of item ids in the order of time, and columns of events and users.
            A list column of integers with the tags "sequence" and "time" has the events' times, such as seconds.
        embedding_dim: the width of all vectors.
        blocks: how many blocks.
        heads: of each block; they divide `embedding_dim`.
        max_length: the most events that are read of a row, its last ones.
        dropout: of the events' vectors and within each block.
        time_buckets: how many biases there are per block for the time between two events.
        tied, exclude_seen, items, first_id, **kwargs: as in all next-item models (`NextItemModel`).

    Inputs, output and errors are those of `kr.models.SASRec`.

    Example:

    >>> model = kr.models.HSTU(train.schema, embedding_dim=64, blocks=2, heads=1)
    >>> model.compile(loss=kr.losses.SampledSoftmax(128))

    Source: Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for Generative
    Recommendations", https://arxiv.org/abs/2402.17152. The authors' code takes the time from an event to the one
    after the one that attends, which is not known when the next item is asked for; here it is that to the latter.
    """

    reads_time = True

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int = 64,
        blocks: int = 2,
        heads: int = 1,
        max_length: int = 200,
        dropout: float = 0.2,
        time_buckets: int = 128,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, max_length, dropout, **kwargs)
        self.time_buckets = at_least_one(self.name, "time_buckets", time_buckets)
        self.blocks = at_least_one(self.name, "blocks", blocks)
        self.heads = at_least_one(self.name, "heads", heads)
        policy = {"dtype": self.dtype_policy}
        self.positions = TokenPositions(self.max_length, **policy, name="positions")
        self.block_layers = [
            HSTUBlock(
                self.heads,
                self.max_length,
                dropout,
                self.time_buckets if self.columns.time else 0,
                **policy,
                name=f"block_{k + 1}",
            )
            for k in range(self.blocks)
        ]
        self.norm = keras.layers.LayerNormalization(epsilon=1e-6, **policy, name="norm")
        chain((None, self.embedding_dim), self.positions, *self.block_layers, self.norm)
        self.built = True

    def encode(self, events: Events, rows: TokenRows, training: bool | None) -> Tensor:
        x = self.embed(events, rows, training) * self.embedding_dim**0.5
        x = self.drop(self.positions(x, rows=rows), training=training)
        buckets = None if self.columns.time is None else self._buckets(events.lists[self.columns.time], rows)
        for block in self.block_layers:
            x = block(x, rows=rows, buckets=buckets, training=training)
        return self.norm(x)

    def _buckets(self, times: Tensor, rows: TokenRows) -> list[Tensor]:
        """Return the bucket of the time between two events of a row, `(rows, length, length)`, by group."""
        groups = rows.split(ops.expand_dims(times, 1))
        apart = [ops.cast(ops.abs(group - ops.swapaxes(group, 1, 2)), "float32") for group in groups]
        buckets = [ops.cast(ops.log(ops.maximum(each, 1.0)) / 0.301, "int32") for each in apart]
        return [ops.minimum(each, self.time_buckets - 1) for each in buckets]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "blocks": self.blocks,
            "heads": self.heads,
            "time_buckets": self.time_buckets,
        }


class HSTUBlock(keras.layers.Layer):
    """One block of `HSTU`, for `(tokens, dim)` and their `TokenRows`."""

    def __init__(self, heads: int, max_length: int, dropout: float, time_buckets: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.heads, self.max_length, self.time_buckets = heads, max_length, time_buckets
        policy = {"dtype": self.dtype_policy}
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-6, **policy) for _ in range(2)]
        self.drop = Dropout(dropout, **policy)

    def build(self, input_shape: Shape) -> None:
        dim = input_shape[-1] or 0
        if dim % self.heads:
            raise ValueError(f"{self.name}: heads must divide the width, {dim}; got {self.heads}")
        policy = {"dtype": self.dtype_policy}
        self.project = keras.layers.Dense(4 * dim, "silu", **policy, name="project")
        self.out = keras.layers.Dense(dim, **policy, name="out")
        self.distances = self.add_weight(name="distances", shape=(self.max_length, 1), initializer="zeros")
        if self.time_buckets:
            self.times = self.add_weight(name="times", shape=(self.time_buckets, 1), initializer="zeros")
        for layer in (*self.norms, self.project, self.out):
            layer.build(input_shape)

    def call(
        self,
        x: Tensor,
        rows: TokenRows,
        buckets: Sequence[Tensor] | None = None,
        training: bool | None = None,
    ) -> Tensor:
        u, v, q, k = ops.split(self.project(self.norms[0](x)), 4, axis=-1)
        vqk = ops.concatenate([v, q, k], axis=-1)
        groups = rows.split(vqk)
        pairs = zip(groups, buckets or [None] * len(groups), strict=True)
        attended = rows.join([self._attended(group, bucket) for group, bucket in pairs])
        return x + self.out(self.drop(self.norms[1](attended) * u, training=training))

    def _attended(self, group: Tensor, buckets: Tensor | None) -> Tensor:
        v, q, k = (split_heads(part, self.heads) for part in ops.split(group, 3, axis=-1))
        length = ops.shape(group)[1]
        visible, biases = earlier(length), self._by_distance(length)
        if buckets is not None:
            by_time = self._by_time(buckets)
            biases = biases + (by_time if self.heads == 1 else ops.expand_dims(by_time, 1))
        scores = ops.silu(ops.matmul(q, ops.swapaxes(k, -1, -2)) + biases)
        weights = ops.where(visible, scores, ops.zeros_like(scores)) / self.max_length
        return join_heads(ops.matmul(weights, v), self.heads)

    def _by_time(self, buckets: Tensor) -> Tensor:
        """Return the bias for each pair of events, `(rows, length, length)`."""
        biases = take_rows(ops.cast(self.times, self.compute_dtype), ops.reshape(buckets, (-1,)))
        return ops.reshape(biases, ops.shape(buckets))

    def _by_distance(self, length: Any) -> Tensor:
        """Return the bias for each pair of places by their distance, `(length, length)`."""
        places = ops.arange(length)
        distances = ops.reshape(ops.maximum(places[:, None] - places[None], 0), (-1,))
        biases = take_rows(ops.cast(self.distances, self.compute_dtype), distances)
        return ops.reshape(biases, (length, length))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)
