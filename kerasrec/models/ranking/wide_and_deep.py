"""Wide & Deep: a linear model that memorises beside a deep tower that generalises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerasrec.layers.mlp import widths
from kerasrec.models.base import SchemaModel, chain
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class WideAndDeep(SchemaModel):
    """Linear model plus deep tower.

    `logit = first_order + w . deep([continuous columns, embeddings]) + b`, where the first order has one weight
    for every id and continuous column. A cross of columns that is to be memorised is one more categorical column.
    With several targets the embeddings and the tower are shared; each target has a first order, `w` and `b` of its
    own.

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        embedding_dim: the width of all embeddings; None takes each column's own suggestion.
        deep_units: widths of the deep tower.
        dropout: in the deep tower.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.

    Inputs, output, errors and `**kwargs` are `DLRM`'s.

    Example:

    >>> model = kr.models.WideAndDeep(train.schema, deep_units=[256, 128])

    Source: Cheng et al., "Wide & Deep Learning for Recommender Systems", https://arxiv.org/abs/1606.07792
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int | None = 16,
        deep_units: int | Sequence[int] = (256, 128),
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        self.deep_units, self.dropout = widths(self.name, "deep_units", deep_units), dropout
        self.wide = self.make_first_order("wide")
        self.deep = self.make_tower(self.deep_units, dropout, "deep")
        self.logit = self.make_logit()
        chain((None, self.side_by_side_width), self.deep, self.logit)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        deep = self.deep(self.side_by_side(x, self.embed(ids)), training=training)
        return self.answer(self.wide(ids, x) + self.logit(deep))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "deep_units": list(self.deep_units), "dropout": self.dropout}
