"""Wide & Deep: a linear model that memorises beside a deep tower that generalises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerasrec.layers.mlp import at_least_one, widths
from kerasrec.models.base import SchemaModel, chain
from kerasrec.models.crossed_columns import CrossedColumns
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class WideAndDeep(SchemaModel):
    """Linear model plus deep tower.

    `logit = first_order + w . deep([continuous columns, embeddings]) + b`, where the first order has one weight
    for every id and continuous column, and for every combination of ids of the columns of `crosses`. Those are
    memorised in the wide part only: the tower has no embeddings of them.
    With several targets the embeddings and the tower are shared; each target has a first order, crosses, `w` and
    `b` of its own.

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        embedding_dim: the width of all embeddings; None takes each column's own suggestion.
        deep_units: widths of the deep tower.
        dropout: in the deep tower.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.
        crosses: the crossed columns: a list of lists of two or more categorical columns, such as
            `[["city", "genre"]]`. Of list columns every combination counts, combined as the lists are.
        cross_buckets: a cross of more combinations than this, all cardinalities multiplied, is hashed into as many
            buckets; one of fewer has a weight per combination.

    Inputs, output, errors and `**kwargs` are `DLRM`'s.

    Example:

    >>> model = kr.models.WideAndDeep(train.schema, crosses=[["city", "genre"]])

    Source: Cheng et al., "Wide & Deep Learning for Recommender Systems", https://arxiv.org/abs/1606.07792
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int | None = 16,
        deep_units: int | Sequence[int] = (256, 128),
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        crosses: Sequence[Sequence[str]] = (),
        cross_buckets: int = 1_000_000,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        self.deep_units, self.dropout = widths(self.name, "deep_units", deep_units), dropout
        self.cross_buckets, self.crosses = at_least_one(self.name, "cross_buckets", cross_buckets), None
        self.wide = self.make_first_order("wide")
        if len(crosses):
            combiner, regularizer = self.options.combiner, self.options.embeddings_regularizer
            self.crosses = CrossedColumns(
                self.schema, crosses, cross_buckets, combiner, regularizer, len(self.targets), name="crosses"
            )
            self.crosses.build({column.name: (None,) for column in self.schema.features.categorical})
        self.deep = self.make_tower(self.deep_units, dropout, "deep")
        self.logit = self.make_logit()
        chain((None, self.side_by_side_width), self.deep, self.logit)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        deep = self.deep(self.side_by_side(x, self.embed(ids)), training=training)
        wide = self.wide(ids, x) if self.crosses is None else self.wide(ids, x) + self.crosses(ids)
        return self.answer(wide + self.logit(deep))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "deep_units": list(self.deep_units),
            "dropout": self.dropout,
            "crosses": [] if self.crosses is None else [list(names) for names in self.crosses.crosses],
            "cross_buckets": self.cross_buckets,
        }
