"""xDeepFM: a linear model, a compressed interaction network and a deep tower over the same columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers import CompressedInteraction
from kerasrec.layers.mlp import widths
from kerasrec.models.base import SchemaModel, chain
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class xDeepFM(SchemaModel):
    """Linear model, compressed interaction network (CIN) and deep tower.

    With `v_i` the vector of field i, the embedding of a categorical column or `x_j * V_j` of a continuous one:
    `logit = first_order + w . [cin(v), deep([x, embeddings])] + b`. The CIN multiplies vectors, and its layer
    l has products of l + 1 fields; `kr.layers.CompressedInteraction` has the formula. The deep tower reads a
    continuous column itself: its vector would be only a multiple of it.

    With several targets the embeddings, the CIN and the tower are shared. Each target has a first order, `w` and
    `b` of its own.

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        embedding_dim: the width of all vectors.
        cin_units: how many vectors each layer of the CIN has. The time of a step is linear in each, and in the
            square of the number of fields.
        deep_units: widths of the deep tower.
        dropout: in the deep tower.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.

    Inputs, output, errors and `**kwargs` are `DLRM`'s.

    Example:

    >>> model = kr.models.xDeepFM(train.schema, cin_units=[16, 16], deep_units=[256, 128])

    Source: Lian et al., "xDeepFM: Combining Explicit and Implicit Feature Interactions for Recommender Systems",
    https://arxiv.org/abs/1803.05170
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int = 16,
        cin_units: int | Sequence[int] = (16, 16, 16),
        deep_units: int | Sequence[int] = (256, 128),
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        self.cin_units = widths(self.name, "cin_units", cin_units)
        self.deep_units, self.dropout = widths(self.name, "deep_units", deep_units), dropout
        self.first_order = self.make_first_order("first_order")
        self.continuous_vectors = self.make_continuous_vectors()
        self.cin = CompressedInteraction(self.cin_units, dtype=self.dtype_policy, name="cin")
        self.deep = self.make_tower(self.deep_units, dropout, "deep")
        self.logit = self.make_logit()
        chain((None, self.field_count, embedding_dim), self.cin)
        chain((None, self.side_by_side_width), self.deep)
        chain((None, sum(self.cin_units) + self.deep_units[-1]), self.logit)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        vectors = self.embed(ids)
        cin = self.cin(self.fields(x, vectors))
        deep = self.deep(self.side_by_side(x, vectors), training=training)
        return self.answer(self.first_order(ids, x) + self.logit(ops.concatenate([cin, deep], axis=1)))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "cin_units": list(self.cin_units),
            "deep_units": list(self.deep_units),
            "dropout": self.dropout,
        }
