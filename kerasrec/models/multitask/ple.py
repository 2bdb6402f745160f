"""PLE: levels of experts, some of each target's own and some shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers.experts.cgc import CGC
from kerasrec.layers.experts.parallel_mlp import ParallelMLP
from kerasrec.layers.mlp import at_least_one, widths
from kerasrec.models.base import SchemaModel, chain
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class PLE(SchemaModel):
    """Progressive layered extraction.

    Each level (`kr.layers.CGC`) has experts of each target's own and shared ones. A gate of target k mixes its own
    with the shared ones, a shared gate mixes all, and these mixtures are the inputs of the next level:
    `f_1, .., f_K, f_s = level(f_1, .., f_K, f_s)`. All begin as `x`, the continuous columns and embeddings side by
    side, and after the last level `logit_k = w_k . tower_k(f_k) + b_k`. With one level it is the paper's CGC.

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        embedding_dim: the width of all embeddings; None takes each column's own suggestion.
        levels: how many levels.
        own_experts: how many experts each target has in a level.
        shared_experts: how many experts are shared in a level.
        expert_units: widths of each expert.
        tower_units: widths of each target's tower.
        gate_units: widths of hidden layers of each gate; by default none, as in the paper.
        dropout: in experts, towers and gates.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.

    Inputs, output, errors and `**kwargs` are `DLRM`'s.

    Example:

    >>> model = kr.models.PLE(train.schema, levels=2, own_experts=1, shared_experts=2)

    Source: Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for
    Personalized Recommendations", RecSys 2020, https://doi.org/10.1145/3383313.3412236
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int | None = 16,
        levels: int = 2,
        own_experts: int = 1,
        shared_experts: int = 1,
        expert_units: int | Sequence[int] = (256, 128),
        tower_units: int | Sequence[int] = (64,),
        gate_units: int | Sequence[int] = (),
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        targets, last = len(self.targets), at_least_one(self.name, "levels", levels) - 1
        self.tower_units, self.dropout = widths(self.name, "tower_units", tower_units), dropout
        expert_units = widths(self.name, "expert_units", expert_units)
        self.levels = [
            CGC(
                targets,
                expert_units,
                own_experts,
                shared_experts,
                gate_units,
                shared_output=level < last,
                dropout=dropout,
                **self.options.tower(),
                dtype=self.dtype_policy,
                name=f"level_{level + 1}",
            )
            for level in range(levels)
        ]
        self.towers = self.make_parallel(targets, self.tower_units, dropout, "towers")
        self.logit = ParallelMLP(targets, 1, final_activation=None, dtype="float32", name="logit")
        chain((None, self.side_by_side_width), *self.levels, self.towers, self.logit)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        mixed = self.side_by_side(x, self.embed(ids))
        for level in self.levels:
            mixed = level(mixed, training=training)
        towers = self.towers(mixed, training=training)
        return self.answer(ops.squeeze(self.logit(towers), axis=-1))

    def get_config(self) -> dict[str, Any]:
        level = self.levels[0]
        return {
            **super().get_config(),
            "levels": len(self.levels),
            "own_experts": level.own_experts,
            "shared_experts": level.shared_experts,
            "expert_units": list(level.units),
            "tower_units": list(self.tower_units),
            "gate_units": list(level.gate_units),
            "dropout": self.dropout,
        }
