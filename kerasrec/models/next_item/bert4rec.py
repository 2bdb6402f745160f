"""BERT4Rec: self-attention in both directions, trained to fill in items that are left blank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
from keras import ops

from kerasrec.layers.mlp import at_least_one
from kerasrec.layers.sequence.dropout import Dropout
from kerasrec.layers.sequence.token_attention import TokenAttention
from kerasrec.layers.sequence.token_positions import TokenPositions
from kerasrec.layers.sequence.token_rows import TokenRows
from kerasrec.models.base import chain
from kerasrec.models.next_item.base import NextItemModel
from kerasrec.models.next_item.events import Events, Following, sequences_of
from kerasrec.schema import Schema
from kerasrec.typing import Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class BERT4Rec(NextItemModel):
    """Bidirectional encoder representations from transformers, for sequences of items.

    With an event's vector `e_t` and `P` trained vectors of places, counted from the end of a sequence:
    `x = dropout(norm(e_t + P))`, then `blocks` times

        y = norm(x + dropout(attention(x)))
        x = norm(y + dropout(W_2 gelu(W_1 y)))

    where every event attends to all events of its row. The state is `norm(gelu(W x + b))`, and an item's score its
    dot product with the item's vector.

    It is trained on events that are left blank at random, in the place of which it predicts the item. To score the
    next item, a blank event is added at the end. The vector of a blank event is that of id 0.

    Args:
        schema: `loader.schema`: a list column of item ids in the order of time, and columns of events and users.
        embedding_dim: the width of all vectors but those within a block, `4 * embedding_dim`.
        blocks: how many blocks.
        heads: of each block's attention; they divide `embedding_dim`.
        max_length: the most events that are read of a row, its last ones, with the blank one.
        dropout: of the events' vectors, the attention weights and each block's two sums.
        blank_rate: the share of events that are left blank in training.
        last_rate: the share of rows of which only the last event is blank in training, as when items are scored.
        tied, exclude_seen, items, first_id, **kwargs: as in all next-item models (`NextItemModel`).

    Inputs and output are those of `kr.models.SASRec`.

    Raises:
        SchemaError: the schema has no list of items, or several.
        ValueError: `heads` does not divide `embedding_dim`, a rate is not in [0, 1], `max_length` is below 2, or
            another number is out of range.

    Example:

    >>> model = kr.models.BERT4Rec(train.schema, embedding_dim=64, blocks=2, heads=2)
    >>> model.compile(loss=kr.losses.FullSoftmax())

    Source: Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from
    Transformer", https://arxiv.org/abs/1904.06690, but for a bias per item and for ids that replace blanks.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int = 64,
        blocks: int = 2,
        heads: int = 2,
        max_length: int = 200,
        dropout: float = 0.1,
        blank_rate: float = 0.2,
        last_rate: float = 0.1,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, max_length, dropout, **kwargs)
        self.blocks = at_least_one(self.name, "blocks", blocks)
        self.heads = at_least_one(self.name, "heads", heads)
        if self.max_length < 2:
            raise ValueError(f"{self.name}: max_length must be >= 2, with the blank event; got {max_length!r}")
        for name, rate in {"blank_rate": blank_rate, "last_rate": last_rate}.items():
            if not 0 <= rate <= 1:
                raise ValueError(f"{self.name}: {name} must be in [0, 1]; got {rate!r}")
        self.blank_rate, self.last_rate = blank_rate, last_rate
        self.reader = replace(self.reader, blank=True)
        self.blanks = keras.random.SeedGenerator(self.seed, name="blanks")
        policy = {"dtype": self.dtype_policy}
        self.positions = TokenPositions(self.max_length, **policy, name="positions")
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-6, **policy) for _ in range(2)]
        self.block_layers = [
            BERT4RecBlock(self.heads, dropout, **policy, name=f"block_{k + 1}") for k in range(self.blocks)
        ]
        self.transform = keras.layers.Dense(self.embedding_dim, "gelu", **policy, name="transform")
        chain((None, self.embedding_dim), self.positions, *self.norms, *self.block_layers, self.transform)
        self.built = True

    def encode(self, events: Events, rows: TokenRows, training: bool | None) -> Tensor:
        x = self.positions(self.embed(events, rows, training), rows=rows)
        x = self.drop(self.norms[0](x), training=training)
        for block in self.block_layers:
            x = block(x, rows=rows, training=training)
        return self.norms[1](self.transform(x))

    def _training_batch(self, data: Any) -> tuple[Events, Following]:
        """Return all events of each row, some of them blank, and the items in their place."""
        features = self._features(data)
        events, _ = self.reader.read(features, sequences_of(self.columns, features), 0)
        rows = events.rows()
        only_last = rows.repeat(keras.random.uniform((ops.shape(events.lengths)[0], 1), seed=self.blanks))[:, 0]
        drawn = keras.random.uniform(ops.shape(events.items), seed=self.blanks)
        blank = ops.where(only_last < self.last_rate, rows.from_end() == 0, drawn < self.blank_rate)
        blank = ops.logical_and(blank, events.items >= self.first_id)

        def filled(values: Tensor) -> Tensor:
            return ops.where(blank, ops.zeros_like(values), values)

        lists = {name: filled(values) for name, values in events.lists.items()}
        events = self.reader.weighted(events, blank)
        return events._replace(items=filled(events.items), lists=lists), Following(events.items)

    def get_config(self) -> dict[str, Any]:
        names = ("blocks", "heads", "blank_rate", "last_rate")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


class BERT4RecBlock(keras.layers.Layer):
    """One block of `BERT4Rec`, for `(tokens, dim)` and their `TokenRows`."""

    def __init__(self, heads: int, dropout: float, **kwargs: Any):
        super().__init__(**kwargs)
        policy = {"dtype": self.dtype_policy}
        self.attention = TokenAttention(heads, dropout, causal=False, **policy, name="attention")
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-6, **policy) for _ in range(2)]
        self.drops = [Dropout(dropout, **policy) for _ in range(2)]

    def build(self, input_shape: Shape) -> None:
        dim, policy = input_shape[-1] or 0, {"dtype": self.dtype_policy}
        self.expand = keras.layers.Dense(4 * dim, "gelu", **policy, name="expand")
        self.contract = keras.layers.Dense(dim, **policy, name="contract")
        for layer in (self.attention, *self.norms, self.expand):
            layer.build(input_shape)
        self.contract.build((None, 4 * dim))

    def call(self, x: Tensor, rows: TokenRows, training: bool | None = None) -> Tensor:
        attended = self.attention(x, x, rows=rows, training=training)
        y = self.norms[0](x + self.drops[0](attended, training=training))
        return self.norms[1](y + self.drops[1](self.contract(self.expand(y)), training=training))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)
