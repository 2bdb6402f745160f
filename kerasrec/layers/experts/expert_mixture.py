"""The multi-gate mixture of experts of MMoE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers.experts.parallel_mlp import ParallelMLP
from kerasrec.layers.mlp import at_least_one, widths
from kerasrec.typing import Activation, Initializer, Regularizer, Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class ExpertMixture(keras.layers.Layer):
    """Mixes the outputs of the same experts once for each of several tasks.

    With experts `E_1 .. E_n`, which are small networks, and a gate for each task k:
    `f_k(x) = sum_i g_k(x)_i E_i(x)` with `g_k(x) = softmax(W_k x + b_k)`.

    Args:
        experts: how many experts.
        units: the widths of each expert's layers, or the width of one layer.
        mixtures: how many mixtures: one per task.
        gate_units: widths of hidden layers of each gate, before `W_k`; by default none, as in the paper.
        activation, dropout, kernel_initializer, kernel_regularizer: of experts and gates, as in `kr.layers.MLP`.

    Inputs: `inputs`, `(batch, features)`, and optionally `gate_inputs`, `(batch, other features)`, which the gates
        then read in their place.

    Output: `(batch, mixtures, units[-1])` in the compute dtype.

    Raises:
        ValueError: `experts`, `mixtures` or a width is below 1, or inputs of another shape.

    Example:

    >>> mixed = kr.layers.ExpertMixture(experts=4, units=[64, 32], mixtures=2)(np.ones((8, 13), "float32"))
    >>> mixed.shape
    (8, 2, 32)

    Source: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts",
    KDD 2018, https://doi.org/10.1145/3219819.3220007
    """

    def __init__(
        self,
        experts: int,
        units: int | Sequence[int],
        mixtures: int = 1,
        gate_units: int | Sequence[int] = (),
        activation: Activation | None = "relu",
        dropout: float = 0.0,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Regularizer | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.experts = at_least_one(self.name, "experts", experts)
        self.mixtures = at_least_one(self.name, "mixtures", mixtures)
        self.units, self.gate_units = widths(self.name, "units", units), hidden_units(self.name, gate_units)
        more: dict[str, Any] = {
            "activation": activation,
            "dropout": dropout,
            "kernel_initializer": kernel_initializer,
            "kernel_regularizer": kernel_regularizer,
            "dtype": self.dtype_policy,
        }
        self.expert_stacks = ParallelMLP(experts, self.units, name="experts", **more)
        more["final_activation"] = None
        self.gates = ParallelMLP(mixtures, (*self.gate_units, experts), name="gates", **more)

    def build(self, inputs_shape: Shape, gate_inputs_shape: Shape | None = None) -> None:
        self.expert_stacks.build(inputs_shape)
        self.gates.build(inputs_shape if gate_inputs_shape is None else gate_inputs_shape)

    def call(self, inputs: Tensor, gate_inputs: Tensor | None = None, training: bool | None = None) -> Tensor:
        gates = self.gates(inputs if gate_inputs is None else gate_inputs, training=training)
        return ops.matmul(ops.softmax(gates, axis=-1), self.expert_stacks(inputs, training=training))

    def compute_output_shape(
        self, inputs_shape: Shape, gate_inputs_shape: Shape | None = None
    ) -> tuple[int | None, int, int]:
        return (inputs_shape[0], self.mixtures, self.units[-1])

    def get_config(self) -> dict[str, Any]:
        shared = self.expert_stacks.get_config()
        names = ("activation", "dropout", "kernel_initializer", "kernel_regularizer")
        return {
            **super().get_config(),
            "experts": self.experts,
            "units": list(self.units),
            "mixtures": self.mixtures,
            "gate_units": list(self.gate_units),
            **{name: shared[name] for name in names},
        }


def hidden_units(owner: str, units: int | Sequence[int]) -> tuple[int, ...]:
    """Return the widths of a gate's hidden layers, of which there may be none."""
    return () if isinstance(units, list | tuple) and not units else widths(owner, "gate_units", units)
