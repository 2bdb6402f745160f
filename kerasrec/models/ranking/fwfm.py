"""FwFM: the factorization machine with a weight per pair of fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from kerasrec.layers import FieldWeightedPairs
from kerasrec.models.base import SchemaModel, chain
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class FwFM(SchemaModel):
    """Field-weighted factorization machine.

    With `v_i` the vector of field i, the embedding of a categorical column or `x_j * V_j` of a continuous one:
    `logit = b + sum_i <w_i, v_i> + sum_{i<j} r_ij <v_i, v_j>`, with a `w_i` for each field, and `r_ij` how much
    the pair of fields matters. The `r_ij` begin at 1, as in a factorization machine. Of the paper's three linear
    parts this is the one with a vector per field (FiLV), which is also FuxiCTR's.

    With several targets the vectors are shared. Each target has `b`, `w_i` and `r_ij` of its own.

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        embedding_dim: the width of all vectors.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.

    Inputs, output, errors and `**kwargs` are `DLRM`'s. There are no towers, so their arguments are refused.

    Example:

    >>> model = kr.models.FwFM(train.schema, embedding_dim=16)

    Source: Pan et al., "Field-weighted Factorization Machines for Click-Through Rate Prediction in Display
    Advertising", https://arxiv.org/abs/1806.03514
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
        self.continuous_vectors = self.make_continuous_vectors()
        self.logit = self.make_logit()
        self.pairs = FieldWeightedPairs(len(self.targets), dtype="float32", name="pairs")
        chain((None, self.field_count * embedding_dim), self.logit)
        chain((None, self.field_count, embedding_dim), self.pairs)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        fields = self.fields(x, self.embed(ids))
        return self.answer(self.logit(ops.concatenate(fields, axis=1)) + self.pairs(fields))
