"""NFM: a deep tower over the summed products of all pairs of fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerasrec.layers import BiInteraction
from kerasrec.layers.mlp import widths
from kerasrec.models.base import SchemaModel, chain
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class NFM(SchemaModel):
    """Neural factorization machine: a linear model plus a deep tower over the pooled products of fields.

    With `v_i` the vector of field i, the embedding of a categorical column or `x_j * V_j` of a continuous one:
    `logit = first_order + w . deep(sum_{i<j} v_i * v_j) + b`, where `*` is elementwise. With a single field there
    are no pairs, and the model is the linear one.

    With several targets the vectors and the tower are shared. Each target has a first order, `w` and `b` of its
    own.

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        embedding_dim: the width of all vectors; the tower reads nothing but one pooled vector of this width, so it
            is larger than in other models, as in the paper.
        deep_units: widths of the deep tower.
        dropout: in the deep tower.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.

    Inputs, output, errors and `**kwargs` are `DLRM`'s.

    Example:

    >>> model = kr.models.NFM(train.schema, embedding_dim=64, deep_units=64)

    Source: He and Chua, "Neural Factorization Machines for Sparse Predictive Analytics",
    https://arxiv.org/abs/1708.05027. Its batch normalisation and its dropout of the pooled vector are left out.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int = 64,
        deep_units: int | Sequence[int] = (256, 128),
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        self.deep_units, self.dropout = widths(self.name, "deep_units", deep_units), dropout
        self.first_order = self.make_first_order("first_order")
        self.continuous_vectors = self.make_continuous_vectors()
        self.pairs = BiInteraction(dtype=self.dtype_policy, name="pairs")
        self.deep = self.make_tower(self.deep_units, dropout, "deep")
        self.logit = self.make_logit()
        chain((None, self.field_count, embedding_dim), self.pairs, self.deep, self.logit)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        pairs = self.pairs(self.fields(x, self.embed(ids)))
        deep = self.deep(pairs, training=training)
        return self.answer(self.first_order(ids, x) + self.logit(deep))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "deep_units": list(self.deep_units), "dropout": self.dropout}
