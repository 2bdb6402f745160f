"""BST: a transformer over a history that ends with the candidate, and a deep tower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers import PositionEmbedding, TransformerBlock
from kerasrec.layers.mlp import widths
from kerasrec.models.base import chain
from kerasrec.models.sequence.base import Behaviours, SequenceModel
from kerasrec.schema import Schema, SchemaError
from kerasrec.typing import Tensor

POOLINGS = ("mean", "target", "concat")


@keras.saving.register_keras_serializable("kerasrec")
class BST(SequenceModel):
    """Behavior sequence transformer.

    With `t` the candidate and `h_1 .. h_L` a history: `s = blocks([h_1, p_L], .., [h_L, p_1], [t, p_0])`, where
    `p_k` is a trained vector of the place, counted from the candidate (`kr.layers.PositionEmbedding`), and the
    blocks are `kr.layers.TransformerBlock`; `logit = w . deep([continuous columns, embeddings, v]) + b`, with `v`
    the mean of `s` (or what `pooling` says) for each history.

    Args:
        schema: `loader.schema`; with a history at least, and one or more targets. The schema says what is
            compared, as for `DIN`.
        embedding_dim: the width of all embeddings; None takes each column's own suggestion.
        blocks: how many transformer blocks.
        attention_heads: of each block; they divide the width of a history's vectors with their positions.
        position_dim: the width of the vectors of places; by default `embedding_dim`.
        pooling: "mean" over the behaviours and the candidate, "target", the candidate's own output, or "concat",
            all outputs side by side, as in the paper, for which `deep` is wide.
        attention_dropout: in the blocks.
        deep_units: widths of the deep tower.
        dropout: in the deep tower.
        task, histories, aligned: as for `DIN`.
        max_length: only the last behaviours of a row count; by default as many as the longest list of the schema's
            `hotness` has.

    Inputs, output, other errors and `**kwargs` are `DIN`'s.

    Raises:
        SchemaError: as for `DIN`; the schema does not say how long histories are, and `max_length` neither.
        ValueError: `attention_heads` does not divide the width.

    Example:

    >>> model = kr.models.BST(train.schema, blocks=1, attention_heads=2, deep_units=[256, 128], max_length=50)

    Source: Chen et al., "Behavior Sequence Transformer for E-commerce Recommendation in Alibaba",
    https://arxiv.org/abs/1905.06874
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int | None = 16,
        blocks: int = 1,
        attention_heads: int = 2,
        position_dim: int | None = None,
        pooling: str = "mean",
        attention_dropout: float = 0.0,
        deep_units: int | Sequence[int] = (256, 128),
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        if int(blocks) != blocks or blocks < 1:
            raise ValueError(f"{self.name}: blocks must be an integer >= 1; got {blocks!r}")
        if pooling not in POOLINGS:
            raise ValueError(f"{self.name}: pooling must be one of {POOLINGS}; got {pooling!r}")
        self.blocks, self.attention_heads, self.pooling = blocks, attention_heads, pooling
        self.attention_dropout, self.dropout = attention_dropout, dropout
        self.position_dim = position_dim or embedding_dim or self.history_widths[0]
        self.deep_units = widths(self.name, "deep_units", deep_units)
        self.max_length = longest = self.max_length or self._longest()
        self._places = longest + 1  # the candidate has one
        self.positions = [self._positions(k) for k in range(len(self.histories))]
        self.transformers = [self._transformer(k) for k in range(len(self.histories))]
        self.deep = self.make_tower(self.deep_units, dropout, "deep")
        self.logit = self.make_logit()
        outputs = self._places if pooling == "concat" else 1
        pooled = outputs * sum(width + self.position_dim for width in self.history_widths)
        chain((None, self.other_width + pooled), self.deep, self.logit)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def _longest(self) -> int:
        """Return the length of the longest history in the schema."""
        hotness = {name: self.schema[name].hotness for name in self.history_columns}
        if unknown := [name for name, value in hotness.items() if value is None]:
            raise SchemaError(
                f"{self.name}: the schema does not say how long the lists of {unknown[0]!r} are (no hotness); "
                "pass max_length=, the number of recent behaviours to read"
            )
        return max(1, *(value.max for value in hotness.values() if value is not None))

    def _positions(self, k: int) -> PositionEmbedding:
        layer = PositionEmbedding(
            self._places, self.position_dim, dtype=self.dtype_policy, name=f"positions_{k + 1}"
        )
        layer.build((None, None, self.history_widths[k]))
        return layer

    def _transformer(self, k: int) -> list[TransformerBlock]:
        layers = [
            TransformerBlock(
                self.attention_heads,
                dropout=self.attention_dropout,
                kernel_initializer=self.options.kernel_initializer,
                dtype=self.dtype_policy,
                name=f"block_{k + 1}_{number + 1}",
            )
            for number in range(self.blocks)
        ]
        chain((None, None, self.history_widths[k] + self.position_dim), *layers)
        return layers

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        others, behaviours = self.embed_histories(ids)
        pooled = [self._transformed(k, each, training) for k, each in enumerate(behaviours)]
        return self.answer(self.logit(self.deep(self.side_by_side(x, [*others, *pooled]), training=training)))

    def _transformed(self, k: int, behaviours: Behaviours, training: bool | None) -> Tensor:
        target, history, mask = behaviours
        sequence = ops.concatenate([history, ops.expand_dims(target, 1)], axis=1)
        mask = ops.concatenate([mask, ops.ones((ops.shape(mask)[0], 1), "bool")], axis=1)
        sequence = self.positions[k](sequence)
        for block in self.transformers[k]:
            sequence = block(sequence, mask=mask, training=training)
        return self._pooled(sequence, mask)

    def _pooled(self, sequence: Tensor, mask: Tensor) -> Tensor:
        if self.pooling == "target":
            return sequence[:, -1]
        present = ops.cast(mask, sequence.dtype)
        if self.pooling == "mean":
            total = ops.squeeze(ops.matmul(ops.expand_dims(present, 1), sequence), 1)
            return total / ops.sum(present, axis=1, keepdims=True)
        sequence = sequence * ops.expand_dims(present, -1)
        missing = self._places - ops.shape(sequence)[1]
        sequence = ops.pad(sequence, [[0, 0], [missing, 0], [0, 0]])
        return ops.reshape(sequence, (-1, self._places * sequence.shape[-1]))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "blocks": self.blocks,
            "attention_heads": self.attention_heads,
            "position_dim": self.position_dim,
            "pooling": self.pooling,
            "attention_dropout": self.attention_dropout,
            "deep_units": list(self.deep_units),
            "dropout": self.dropout,
        }
