"""The customized gate control of PLE: experts of each task, and shared ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers.experts.expert_mixture import hidden_units
from kerasrec.layers.experts.parallel_mlp import ParallelMLP
from kerasrec.layers.mlp import at_least_one, widths
from kerasrec.typing import Activation, Initializer, Regularizer, Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class CGC(keras.layers.Layer):
    """Mixes, for each task, experts of its own with experts that all tasks share.

    With `x_k` the input of task k, `x_s` the shared one, `S_k(x_k)` the outputs of the task's experts and `S(x_s)`
    those of the shared ones, the output of task k is `softmax(W_k x_k + b_k) [S_k(x_k), S(x_s)]`. A level before
    the last also passes on a mixture of the experts of all tasks and of the shared ones,
    `softmax(W_s x_s + b_s) [S_1(x_1), ..., S_K(x_K), S(x_s)]`: the shared input of the next level.

    Args:
        tasks: how many tasks.
        units: the widths of each expert's layers, or the width of one layer.
        own_experts: how many experts each task has.
        shared_experts: how many experts are shared.
        gate_units: widths of hidden layers of each gate, before `W`; by default none, as in the paper.
        shared_output: whether the shared mixture is returned, too, after those of the tasks.
        activation, dropout, kernel_initializer, kernel_regularizer: of experts and gates, as in `kr.layers.MLP`.

    Inputs: `(batch, features)`, which all read, as in the first level; or `(batch, tasks + 1, features)`, the
        shared input last.

    Output: `(batch, tasks, units[-1])`, or with the shared output `(batch, tasks + 1, units[-1])`, in the compute
        dtype.

    Raises:
        ValueError: `tasks`, a number of experts or a width is below 1, or inputs of another shape.

    Example, two levels:

    >>> x = kr.layers.CGC(2, [64], shared_output=True)(np.ones((8, 13), "float32"))
    >>> kr.layers.CGC(2, [32])(x).shape
    (8, 2, 32)

    Source: Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for
    Personalized Recommendations", RecSys 2020, https://doi.org/10.1145/3383313.3412236
    """

    def __init__(
        self,
        tasks: int,
        units: int | Sequence[int],
        own_experts: int = 1,
        shared_experts: int = 1,
        gate_units: int | Sequence[int] = (),
        shared_output: bool = False,
        activation: Activation | None = "relu",
        dropout: float = 0.0,
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Regularizer | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.tasks = at_least_one(self.name, "tasks", tasks)
        self.own_experts = at_least_one(self.name, "own_experts", own_experts)
        self.shared_experts = at_least_one(self.name, "shared_experts", shared_experts)
        self.units, self.gate_units = widths(self.name, "units", units), hidden_units(self.name, gate_units)
        self.shared_output = shared_output
        more: dict[str, Any] = {
            "activation": activation,
            "dropout": dropout,
            "kernel_initializer": kernel_initializer,
            "kernel_regularizer": kernel_regularizer,
            "dtype": self.dtype_policy,
        }
        self.own = ParallelMLP(tasks * own_experts, self.units, name="own", **more)
        self.shared = ParallelMLP(shared_experts, self.units, name="shared", **more)
        more["final_activation"] = None
        units_of_gates = (*self.gate_units, own_experts + shared_experts)
        self.gates = ParallelMLP(tasks, units_of_gates, name="gates", **more)
        self.shared_gate = None
        if shared_output:
            everything = (*self.gate_units, tasks * own_experts + shared_experts)
            self.shared_gate = ParallelMLP(1, everything, name="shared_gate", **more)

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) not in (2, 3) or (len(input_shape) == 3 and input_shape[1] != self.tasks + 1):
            raise ValueError(
                f"{self.name}: inputs must have shape (batch, features), or (batch, {self.tasks + 1}, features): "
                f"one for each task and the shared one; got {tuple(input_shape)}"
            )
        batch, *_, features = input_shape
        of_tasks = (batch, self.tasks, features) if len(input_shape) == 3 else (batch, features)
        self.own.build(of_tasks)
        self.gates.build(of_tasks)
        self.shared.build((batch, features))
        if self.shared_gate is not None:
            self.shared_gate.build((batch, features))

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        of_tasks = shared_input = inputs
        if len(inputs.shape) == 3:
            of_tasks, shared_input = inputs[:, : self.tasks], inputs[:, self.tasks]
        own, shared = self.own(of_tasks, training=training), self.shared(shared_input, training=training)
        gates = ops.softmax(self.gates(of_tasks, training=training), axis=-1)
        by_task = ops.reshape(own, (-1, self.tasks, self.own_experts, self.units[-1]))
        of_own = ops.sum(ops.expand_dims(gates[..., : self.own_experts], -1) * by_task, axis=2)
        outputs = of_own + ops.matmul(gates[..., self.own_experts :], shared)
        if self.shared_gate is None:
            return outputs
        gate = ops.softmax(self.shared_gate(shared_input, training=training), axis=-1)
        mixed = ops.matmul(gate, ops.concatenate([own, shared], axis=1))
        return ops.concatenate([outputs, mixed], axis=1)

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, int, int]:
        return (input_shape[0], self.tasks + self.shared_output, self.units[-1])

    def get_config(self) -> dict[str, Any]:
        stacks = self.own.get_config()
        names = ("activation", "dropout", "kernel_initializer", "kernel_regularizer")
        return {
            **super().get_config(),
            "tasks": self.tasks,
            "units": list(self.units),
            "own_experts": self.own_experts,
            "shared_experts": self.shared_experts,
            "gate_units": list(self.gate_units),
            "shared_output": self.shared_output,
            **{name: stacks[name] for name in names},
        }
