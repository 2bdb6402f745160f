"""GDCN: gated cross layers and a deep tower over all features side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers import GatedCross
from kerasrec.layers.mlp import at_least_one, widths
from kerasrec.models.base import SchemaModel, chain
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class GDCN(SchemaModel):
    """Gated deep and cross network: DCN whose cross layers have gates.

    With `x_0 = [continuous columns, embeddings]` side by side and
    `x_{l+1} = x_0 * (W_l x_l + b_l) * sigmoid(G_l x_l) + x_l` the cross layers, the logit is linear in
    `[x_L, deep(x_0)]` (parallel, the paper's GDCN-P) or in `deep(x_L)` (stacked, GDCN-S).

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        embedding_dim: the width of all embeddings; None takes each column's own suggestion.
        cross_layers: how many cross layers.
        deep_units: widths of the deep tower.
        structure: "parallel" or "stacked".
        dropout: in the deep tower.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.

    Inputs, output, errors and `**kwargs` are `DLRM`'s.

    Example:

    >>> model = kr.models.GDCN(train.schema, cross_layers=3, deep_units=[256, 128])

    Source: Wang et al., "Towards Deeper, Lighter and Interpretable Cross Network for CTR Prediction",
    https://arxiv.org/abs/2311.04635
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int | None = 16,
        cross_layers: int = 3,
        deep_units: int | Sequence[int] = (256, 128),
        structure: str = "parallel",
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        if structure not in ("parallel", "stacked"):
            raise ValueError(f"{self.name}: structure must be 'parallel' or 'stacked'; got {structure!r}")
        self.cross_layers, self.structure = at_least_one(self.name, "cross_layers", cross_layers), structure
        self.deep_units, self.dropout = widths(self.name, "deep_units", deep_units), dropout

        self.crosses = [GatedCross(dtype=self.dtype_policy, name=f"cross_{i + 1}") for i in range(cross_layers)]
        self.deep = self.make_tower(self.deep_units, dropout, "deep")
        self.logit = self.make_logit()
        width = self.side_by_side_width
        chain((None, width), *self.crosses, self.deep)
        chain((None, self.deep_units[-1] + (width if structure == "parallel" else 0)), self.logit)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        x0 = self.side_by_side(x, self.embed(ids))
        x = x0
        for cross in self.crosses:
            x = cross(x0, x)
        if self.structure == "stacked":
            return self.answer(self.logit(self.deep(x, training=training)))
        return self.answer(self.logit(ops.concatenate([x, self.deep(x0, training=training)], axis=1)))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "cross_layers": self.cross_layers,
            "deep_units": list(self.deep_units),
            "structure": self.structure,
            "dropout": self.dropout,
        }
