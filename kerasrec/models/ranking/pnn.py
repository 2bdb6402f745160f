"""PNN: a deep tower over the embeddings and all inner products of pairs of fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers import DotInteraction
from kerasrec.layers.mlp import widths
from kerasrec.models.base import SchemaModel, chain
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class PNN(SchemaModel):
    """Product-based neural network, with inner products (IPNN).

    With `v_i` the vector of field i, the embedding of a categorical column or `x_j * V_j` of a continuous one:
    `logit = w . deep([x, embeddings, <v_i, v_j> for all i < j]) + b`. The tower reads a continuous column itself:
    its vector would be only a multiple of it. Unlike DLRM's, its tower has the embeddings beside their products.

    With several targets all layers are shared but the last, which has a `w` and `b` for each.

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        embedding_dim: the width of all vectors.
        deep_units: widths of the deep tower.
        dropout: in the deep tower.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.

    Inputs, output, errors and `**kwargs` are `DLRM`'s.

    Example:

    >>> model = kr.models.PNN(train.schema, embedding_dim=16, deep_units=[256, 128])

    Source: Qu et al., "Product-based Neural Networks for User Response Prediction",
    https://arxiv.org/abs/1611.00144
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int = 16,
        deep_units: int | Sequence[int] = (256, 128),
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        self.deep_units, self.dropout = widths(self.name, "deep_units", deep_units), dropout
        self.continuous_vectors = self.make_continuous_vectors()
        self.products = DotInteraction(dtype=self.dtype_policy, name="products")
        self.deep = self.make_tower(self.deep_units, dropout, "deep")
        self.logit = self.make_logit()
        _, pairs = chain([(None, embedding_dim)] * self.field_count, self.products)
        chain((None, self.side_by_side_width + pairs), self.deep, self.logit)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        vectors = self.embed(ids)
        products = self.products(self.fields(x, vectors), training=training)
        z = ops.concatenate([self.side_by_side(x, vectors), products], axis=1)
        return self.answer(self.logit(self.deep(z, training=training)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "deep_units": list(self.deep_units), "dropout": self.dropout}
