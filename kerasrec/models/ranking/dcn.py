"""DCN-v2: cross layers and a deep tower over all features side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers import CrossMixture, FeatureCross
from kerasrec.layers.mlp import at_least_one, widths
from kerasrec.models.base import SchemaModel, chain
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class DCN(SchemaModel):
    """Deep and cross network, version 2.

    With `x_0 = [continuous columns, embeddings]` side by side and `x_{l+1} = x_0 * (W_l x_l + b_l) + x_l` the
    cross layers, the logit is linear in `[x_L, deep(x_0)]` (parallel) or in `deep(x_L)` (stacked). With several
    experts `W_l x_l` is a gated mixture of nonlinear low-rank maps, as in `kr.layers.CrossMixture`.

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        embedding_dim: the width of all embeddings; None takes each column's own suggestion.
        cross_layers: how many cross layers.
        projection_dim: the rank of the cross layers' matrices; None is full rank, or with several experts a
            quarter of the width.
        deep_units: widths of the deep tower.
        structure: "parallel" or "stacked".
        dropout: in the deep tower.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.
        experts: how many low-rank experts each cross layer has.

    Inputs, output, errors and `**kwargs` are `DLRM`'s.

    Example:

    >>> model = kr.models.DCN(train.schema, cross_layers=3, projection_dim=64, deep_units=[512, 256])

    Source: Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to
    Rank Systems", https://arxiv.org/abs/2008.13535
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int | None = 16,
        cross_layers: int = 3,
        projection_dim: int | None = None,
        deep_units: int | Sequence[int] = (512, 256),
        structure: str = "parallel",
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        experts: int = 1,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        if structure not in ("parallel", "stacked"):
            raise ValueError(f"{self.name}: structure must be 'parallel' or 'stacked'; got {structure!r}")
        self.experts = at_least_one(self.name, "experts", experts)
        self.cross_layers = at_least_one(self.name, "cross_layers", cross_layers)
        self.projection_dim = projection_dim
        self.deep_units, self.structure, self.dropout = (
            widths(self.name, "deep_units", deep_units),
            structure,
            dropout,
        )

        self.crosses = [self._cross(f"cross_{i + 1}") for i in range(self.cross_layers)]
        self.deep = self.make_tower(self.deep_units, dropout, "deep")
        self.logit = self.make_logit()
        width = self.side_by_side_width
        chain((None, width), *self.crosses, self.deep)
        chain((None, self.deep_units[-1] + (width if structure == "parallel" else 0)), self.logit)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def _cross(self, name: str) -> FeatureCross | CrossMixture:
        if self.experts == 1:
            return FeatureCross(self.projection_dim, dtype=self.dtype_policy, name=name)
        return CrossMixture(self.experts, self.projection_dim, dtype=self.dtype_policy, name=name)

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        x0 = self.side_by_side(x, self.embed(ids))
        x = x0
        for cross in self.crosses:
            x = cross(x0, x)
        if self.structure == "stacked":
            x = self.deep(x, training=training)
        else:
            x = ops.concatenate([x, self.deep(x0, training=training)], axis=1)
        return self.answer(self.logit(x))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "cross_layers": self.cross_layers,
            "projection_dim": self.projection_dim,
            "deep_units": list(self.deep_units),
            "structure": self.structure,
            "dropout": self.dropout,
            "experts": self.experts,
        }
