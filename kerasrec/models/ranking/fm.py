"""FM: the factorization machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from kerasrec.layers import BiInteraction
from kerasrec.models.base import SchemaModel, chain
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class FM(SchemaModel):
    """Factorization machine: the linear model plus the dot products of all pairs of fields.

    With `v_i` the vector of field i, the embedding of a categorical column or `x_j * V_j` of a continuous one:
    `logit = first_order + sum_{i<j} <v_i, v_j>`.

    With several targets the vectors are shared. Each target has a first order of its own, and weights `h` of the
    vectors' dimensions, which begin at 1: `sum_{i<j} sum_d h_d v_id v_jd`.

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        embedding_dim: the width of all vectors.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.

    Inputs, output, errors and `**kwargs` are `DLRM`'s. There are no towers, so their arguments are refused.

    Example:

    >>> model = kr.models.FM(train.schema, embedding_dim=16)

    Source: Rendle, "Factorization Machines", ICDM 2010
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int = 16,
        task: str | Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        self.options.refuse_tower(self.name)
        self.first_order = self.make_first_order("first_order")
        self.continuous_vectors = self.make_continuous_vectors()
        self.pairs = BiInteraction(dtype="float32", name="pairs")
        self.logit: keras.layers.Dense | None = None
        if len(self.targets) > 1:
            units = len(self.targets)
            self.logit = keras.layers.Dense(units, None, False, "ones", dtype="float32", name="logit")
            chain((None, embedding_dim), self.logit)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        pairs = self.pairs(self.fields(x, self.embed(ids)))
        pairs = ops.sum(pairs, axis=1, keepdims=True) if self.logit is None else self.logit(pairs)
        return self.answer(self.first_order(ids, x) + pairs)
