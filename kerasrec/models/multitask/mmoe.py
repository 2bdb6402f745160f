"""MMoE: experts that all targets share, mixed for each by a gate of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers.experts.expert_mixture import ExpertMixture
from kerasrec.layers.experts.parallel_mlp import ParallelMLP
from kerasrec.layers.mlp import widths
from kerasrec.models.base import SchemaModel, chain
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class MMoE(SchemaModel):
    """Multi-gate mixture of experts.

    With `x` the continuous columns and embeddings side by side, `E_1 .. E_n` the experts, which are towers over
    `x`, and `g_k(x) = softmax(W_k x + c_k)` the gate of target k:
    `f_k = sum_i g_k(x)_i E_i(x)` and `logit_k = w_k . tower_k(f_k) + b_k`.

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        embedding_dim: the width of all embeddings; None takes each column's own suggestion.
        experts: how many experts.
        expert_units: widths of each expert.
        tower_units: widths of each target's tower.
        gate_units: widths of hidden layers of each gate; by default none, as in the paper.
        dropout: in experts, towers and gates.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.

    Inputs, output, errors and `**kwargs` are `DLRM`'s.

    Example:

    >>> model = kr.models.MMoE(train.schema, experts=4, expert_units=[256, 128], tower_units=[64])

    Source: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts",
    KDD 2018, https://doi.org/10.1145/3219819.3220007
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int | None = 16,
        experts: int = 4,
        expert_units: int | Sequence[int] = (256, 128),
        tower_units: int | Sequence[int] = (64,),
        gate_units: int | Sequence[int] = (),
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        targets = len(self.targets)
        self.tower_units, self.dropout = widths(self.name, "tower_units", tower_units), dropout
        self.mixture = ExpertMixture(
            experts,
            widths(self.name, "expert_units", expert_units),
            targets,
            gate_units,
            dropout=dropout,
            **self.options.tower(),
            dtype=self.dtype_policy,
            name="mixture",
        )
        self.towers = self.make_parallel(targets, self.tower_units, dropout, "towers")
        self.logit = ParallelMLP(targets, 1, final_activation=None, dtype="float32", name="logit")
        chain((None, self.side_by_side_width), self.mixture, self.towers, self.logit)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        mixed = self.mixture(self.side_by_side(x, self.embed(ids)), training=training)
        towers = self.towers(mixed, training=training)
        return self.answer(ops.squeeze(self.logit(towers), axis=-1))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "experts": self.mixture.experts,
            "expert_units": list(self.mixture.units),
            "tower_units": list(self.tower_units),
            "gate_units": list(self.mixture.gate_units),
            "dropout": self.dropout,
        }
