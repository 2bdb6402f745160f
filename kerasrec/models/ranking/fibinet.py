"""FiBiNET: bilinear interactions of fields, once as they are and once weighted by their importance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers import MLP, BilinearInteraction, SqueezeExcitation
from kerasrec.layers.mlp import widths
from kerasrec.models.base import SchemaModel, chain
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class FiBiNET(SchemaModel):
    """Feature importance and bilinear interaction network.

    With `V` the vectors of the fields, embeddings of categorical columns and `x_j * V_j` of continuous ones:
    `p = bilinear_1(V)`, `q = bilinear_2(squeeze_excitation(V))`, `logit = first_order + w . deep([x, p, q]) + b`.
    The paper has no `x`, the continuous columns themselves: its columns are all categorical. The tower is
    absent where it has nothing to read, with a single categorical column.

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        embedding_dim: the width of all vectors.
        bilinear_type: which matrices the interactions have: "all" is one, "each" one per field, "interaction" one
            per pair of fields.
        reduction_ratio: of the squeeze and excitation: how many times fewer hidden units than fields it has.
        deep_units: widths of the deep tower. It reads `n * (n - 1) * embedding_dim` numbers of `n` fields: with
            many fields its first layer is most of the model.
        excitation: the activation that makes the importances. With "relu", which is common, and few fields, those
            of a field may be 0 in all rows from the start, which gives no gradient to leave it.
        dropout: in the deep tower.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.

    Inputs, output, errors and `**kwargs` are `DLRM`'s.

    Example:

    >>> model = kr.models.FiBiNET(train.schema, embedding_dim=8, bilinear_type="each", deep_units=[256, 128])

    Source: Huang et al., "FiBiNET: Combining Feature Importance and Bilinear feature Interaction for Click-Through
    Rate Prediction", https://arxiv.org/abs/1905.09433
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int = 16,
        bilinear_type: str = "interaction",
        reduction_ratio: float = 3,
        deep_units: int | Sequence[int] = (256, 128),
        excitation: str = "sigmoid",
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        self.bilinear_type, self.reduction_ratio, self.excitation = bilinear_type, reduction_ratio, excitation
        self.deep_units, self.dropout = widths(self.name, "deep_units", deep_units), dropout
        self.first_order = self.make_first_order("first_order")
        self.continuous_vectors = self.make_continuous_vectors()
        dtype, n = self.dtype_policy, self.field_count
        width = 0 if self.continuous is None else len(self.continuous.columns)
        self.importance: SqueezeExcitation | None = None
        self.deep: MLP | None = None
        if n > 1:
            self.importance = SqueezeExcitation(reduction_ratio, excitation, dtype=dtype, name="importance")
            self.bilinear_1 = BilinearInteraction(bilinear_type, dtype=dtype, name="bilinear_1")
            self.bilinear_2 = BilinearInteraction(bilinear_type, dtype=dtype, name="bilinear_2")
            chain((None, n, embedding_dim), self.bilinear_1)
            chain((None, n, embedding_dim), self.importance, self.bilinear_2)
            width += n * (n - 1) * embedding_dim
        if width:
            self.deep = self.make_tower(self.deep_units, dropout, "deep")
            self.logit = self.make_logit()
            chain((None, width), self.deep, self.logit)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        logit, pairs = self.first_order(ids, x), []
        if self.importance is not None:
            v = ops.stack(self.fields(x, self.embed(ids)), axis=1)
            p, q = self.bilinear_1(v), self.bilinear_2(self.importance(v))
            pairs = [ops.reshape(each, (-1, each.shape[1] * each.shape[2])) for each in (p, q)]
        if self.deep is not None:
            logit += self.logit(self.deep(self.side_by_side(x, pairs), training=training))
        return self.answer(logit)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "bilinear_type": self.bilinear_type,
            "reduction_ratio": self.reduction_ratio,
            "deep_units": list(self.deep_units),
            "excitation": self.excitation,
            "dropout": self.dropout,
        }
