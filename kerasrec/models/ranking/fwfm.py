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
    `logit = linear + sum_{i<j} r_ij <v_i, v_j>`, where `r_ij` is how much the pair of fields matters. The `r_ij`
    begin at 1, as in a factorization machine.

    With several targets the vectors are shared. Each target has a linear part and `r_ij` of its own.

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        embedding_dim: the width of all vectors.
        linear: "vectors" is `b + sum_i <w_i, v_i>`, with a `w_i` per field, the paper's choice; "weights" is a
            weight per id and continuous column, as in `FM`.
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
        linear: str = "vectors",
        task: str | Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        self.options.refuse_tower(self.name)
        if linear not in ("vectors", "weights"):
            raise ValueError(f"{self.name}: linear must be 'vectors' or 'weights'; got {linear!r}")
        self.linear = linear
        self.continuous_vectors = self.make_continuous_vectors()
        self.pairs = FieldWeightedPairs(len(self.targets), dtype="float32", name="pairs")
        chain((None, self.field_count, embedding_dim), self.pairs)
        if linear == "weights":
            self.first_order = self.make_first_order("first_order")
        else:
            self.logit = self.make_logit()
            chain((None, self.field_count * embedding_dim), self.logit)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        fields = self.fields(x, self.embed(ids))
        if self.linear == "weights":
            linear = self.first_order(ids, x)
        else:
            linear = self.logit(ops.concatenate(fields, axis=1))
        return self.answer(linear + self.pairs(fields))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "linear": self.linear}
