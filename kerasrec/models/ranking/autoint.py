"""AutoInt: fields that attend to one another, and a deep tower beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers import FeatureSelfAttention
from kerasrec.layers.mlp import widths
from kerasrec.models.base import SchemaModel, chain
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class AutoInt(SchemaModel):
    """Self-attention over fields, beside a deep tower (AutoInt+) or alone (AutoInt).

    With `v_i` the vector of field i, the embedding of a categorical column or `x_j * V_j` of a continuous one, and
    `A` the attention layers one after another: `logit = w . [A(v), deep([x, embeddings])] + b`.
    `kr.layers.FeatureSelfAttention` has the formula of a layer. The deep tower reads a continuous column itself:
    its vector would be only a multiple of it.

    With several targets all layers are shared but the last, which has a `w` and `b` for each.

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        embedding_dim: the width of all vectors.
        attention_layers: how many attention layers there are.
        attention_units: the width of their vectors, all heads together.
        attention_heads: of each attention layer; must divide `attention_units`.
        deep_units: widths of the deep tower; None leaves it out.
        dropout: in the deep tower.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.

    Inputs, output, errors and `**kwargs` are `DLRM`'s. Without the deep tower its arguments are refused.

    Example:

    >>> model = kr.models.AutoInt(train.schema, attention_layers=3, attention_units=32, attention_heads=2)

    Source: Song et al., "AutoInt: Automatic Feature Interaction Learning via Self-Attentive Neural Networks",
    https://arxiv.org/abs/1810.11921
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int = 16,
        attention_layers: int = 2,
        attention_units: int = 32,
        attention_heads: int = 2,
        deep_units: int | Sequence[int] | None = (256, 128),
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        if attention_layers < 1:
            raise ValueError(f"{self.name}: attention_layers must be an integer >= 1; got {attention_layers!r}")
        self.attention_layers, self.attention_units = attention_layers, attention_units
        self.attention_heads = attention_heads
        self.deep_units = None if deep_units is None else widths(self.name, "deep_units", deep_units)
        self.dropout = dropout
        self.continuous_vectors = self.make_continuous_vectors()
        self.attention = [
            FeatureSelfAttention(
                attention_units, attention_heads, dtype=self.dtype_policy, name=f"attention_{i + 1}"
            )
            for i in range(attention_layers)
        ]
        chain((None, self.field_count, embedding_dim), *self.attention)
        width = self.field_count * attention_units
        self.deep = None
        if self.deep_units is None:
            self._refuse_tower()
        else:
            self.deep = self.make_tower(self.deep_units, dropout, "deep")
            chain((None, self.side_by_side_width), self.deep)
            width += self.deep_units[-1]
        self.logit = self.make_logit()
        chain((None, width), self.logit)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def _refuse_tower(self) -> None:
        self.options.refuse_tower(self.name)
        if self.dropout:
            raise ValueError(f"{self.name}: dropout is of the deep tower, which deep_units=None leaves out")

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        vectors = self.embed(ids)
        attended: Tensor = self.fields(x, vectors)
        for layer in self.attention:
            attended = layer(attended)
        z = ops.reshape(attended, (-1, self.field_count * self.attention_units))
        if self.deep is not None:
            deep = self.deep(self.side_by_side(x, vectors), training=training)
            z = ops.concatenate([z, deep], axis=1)
        return self.answer(self.logit(z))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "attention_layers": self.attention_layers,
            "attention_units": self.attention_units,
            "attention_heads": self.attention_heads,
            "deep_units": None if self.deep_units is None else list(self.deep_units),
            "dropout": self.dropout,
        }
