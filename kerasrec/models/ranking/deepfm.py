"""DeepFM: a factorization machine and a deep tower over the same embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers import FactorizationMachine
from kerasrec.layers.mlp import widths
from kerasrec.models.base import SchemaModel, chain
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class DeepFM(SchemaModel):
    """Factorization machine plus deep tower.

    With `v_i` the vector of field i, the embedding of a categorical column or `x_j * V_j` of a continuous one:
    `logit = first_order + sum_{i<j} <v_i, v_j> + w . deep([x, embeddings]) + b`. Both parts learn the same
    embeddings. The deep tower reads a continuous column itself: its vector would be only a multiple of it.

    With several targets the embeddings and the tower are shared. Each target has a first order, `w` and `b` of its
    own, and a weight of the sum over pairs, since one sum cannot be in the units of several targets.

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        embedding_dim: the width of all vectors.
        deep_units: widths of the deep tower.
        dropout: in the deep tower.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.

    Inputs, output, errors and `**kwargs` are `DLRM`'s.

    Example:

    >>> model = kr.models.DeepFM(train.schema, embedding_dim=16, deep_units=[256, 128])

    Source: Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction",
    https://arxiv.org/abs/1703.04247
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
        self.first_order = self.make_first_order("first_order")
        self._weighs_interactions = len(self.targets) > 1
        self.continuous_vectors = self.make_continuous_vectors()
        self.fm = FactorizationMachine(dtype="float32", name="factorization_machine")
        self.fm.build((None, self.field_count, embedding_dim))
        self.deep = self.make_tower(self.deep_units, dropout, "deep")
        self.logit = self.make_logit()
        chain((None, self.side_by_side_width), self.deep)
        chain((None, self.deep_units[-1] + self._weighs_interactions), self.logit)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        vectors = self.embed(ids)
        fields = self.fields(x, vectors)
        deep = self.deep(self.side_by_side(x, vectors), training=training)
        if self._weighs_interactions:
            deep = ops.concatenate([ops.cast(deep, "float32"), self.fm(fields)], axis=1)
            return self.answer(self.first_order(ids, x) + self.logit(deep))
        return self.answer(self.first_order(ids, x) + self.fm(fields) + self.logit(deep))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "deep_units": list(self.deep_units), "dropout": self.dropout}
