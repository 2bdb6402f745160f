"""SASRec: self-attention over a sequence, each item of which attends to those before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from kerasrec.layers.mlp import at_least_one
from kerasrec.layers.sequence.dropout import Dropout
from kerasrec.layers.sequence.token_attention import TokenAttention
from kerasrec.layers.sequence.token_positions import TokenPositions
from kerasrec.layers.sequence.token_rows import TokenRows
from kerasrec.models.base import chain
from kerasrec.models.next_item.base import NextItemModel
from kerasrec.models.next_item.events import Events
from kerasrec.schema import Schema
from kerasrec.typing import Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class SASRec(NextItemModel):
    """Self-attentive sequential recommendation.

    With an event's vector `e_t` and `P` trained vectors of places, counted from the end of a sequence:
    `x = dropout(sqrt(dim) e_t + P)`, then `blocks` times

        q = norm(x)
        y = norm(q + attention(q, x))
        x = y + W_2 relu(W_1 y)

    where an event attends to itself and those before it. The state after an event is `norm(x)`, and an item's
    score its dot product with the item's vector.

    Args:
        schema: `loader.schema`: a list column of item ids in the order of time, and columns of events and users.
        embedding_dim: the width of all vectors.
        blocks: how many blocks.
        heads: of each block's attention; they divide `embedding_dim`.
        max_length: the most events that are read of a row, its last ones.
        dropout: of the events' vectors, the attention weights and the two dense layers.
        tied, exclude_seen, items, first_id, **kwargs: as in all next-item models (`NextItemModel`).

    Inputs: a dict of columns: lists of ids, ragged or padded with 0 at their end, in the order of time.

    Output: the scores of all ids for the next item, `(batch, ids)` float32.

    Raises:
        SchemaError: the schema has no list of items, or several.
        ValueError: `heads` does not divide `embedding_dim`, or another number is out of range.

    Example:

    >>> model = kr.models.SASRec(train.schema, embedding_dim=64, blocks=2, heads=1, max_length=200, dropout=0.1)
    >>> model.compile(optimizer=kr.optimizers.Adam(1e-3), loss=kr.losses.FullSoftmax())
    >>> model.fit(train, validation_data=valid, epochs=10)

    Source: Kang, McAuley, "Self-Attentive Sequential Recommendation", https://arxiv.org/abs/1808.09781. As in the
    authors' code, queries are normalized and keys and values are not; places are counted from the end.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int = 64,
        blocks: int = 2,
        heads: int = 1,
        max_length: int = 200,
        dropout: float = 0.1,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, max_length, dropout, **kwargs)
        self.blocks = at_least_one(self.name, "blocks", blocks)
        self.heads = at_least_one(self.name, "heads", heads)
        policy = {"dtype": self.dtype_policy}
        self.positions = TokenPositions(self.max_length, **policy, name="positions")
        self.block_layers = [
            SASRecBlock(self.heads, dropout, **policy, name=f"block_{k + 1}") for k in range(self.blocks)
        ]
        self.norm = keras.layers.LayerNormalization(epsilon=1e-8, **policy, name="norm")
        chain((None, self.embedding_dim), self.positions, *self.block_layers, self.norm)
        self.built = True

    def encode(self, events: Events, rows: TokenRows, training: bool | None) -> Tensor:
        x = self.embed(events, rows, training) * self.embedding_dim**0.5
        x = self.drop(self.positions(x, rows=rows), training=training)
        for block in self.block_layers:
            x = block(x, rows=rows, training=training)
        return self.norm(x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "blocks": self.blocks, "heads": self.heads}


class SASRecBlock(keras.layers.Layer):
    """One block of `SASRec`, for `(tokens, dim)` and their `TokenRows`."""

    def __init__(self, heads: int, dropout: float, **kwargs: Any):
        super().__init__(**kwargs)
        policy = {"dtype": self.dtype_policy}
        self.attention = TokenAttention(heads, dropout, **policy, name="attention")
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-8, **policy) for _ in range(2)]
        self.drops = [Dropout(dropout, **policy) for _ in range(2)]

    def build(self, input_shape: Shape) -> None:
        dim, policy = input_shape[-1], {"dtype": self.dtype_policy}
        self.expand = keras.layers.Dense(dim, "relu", **policy, name="expand")
        self.contract = keras.layers.Dense(dim, **policy, name="contract")
        for layer in (self.attention, *self.norms, self.expand, self.contract):
            layer.build(input_shape)

    def call(self, x: Tensor, rows: TokenRows, training: bool | None = None) -> Tensor:
        q = self.norms[0](x)
        y = self.norms[1](q + self.attention(q, x, rows=rows, training=training))
        hidden = self.drops[0](self.expand(y), training=training)
        return y + self.drops[1](self.contract(hidden), training=training)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)
