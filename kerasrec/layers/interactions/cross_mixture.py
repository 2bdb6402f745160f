"""The cross layer of DCN-v2 as a mixture of low-rank experts."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec.layers.mlp import at_least_one
from kerasrec.layers.stacked_kernels import glorot_of_each
from kerasrec.typing import Activation, Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class CrossMixture(keras.layers.Layer):
    """Multiplies the original features with a gated mixture of nonlinear low-rank maps of the crosses so far.

    `x_{l+1} = x_0 * (sum_e p_e U_e s(C_e s(V_e x_l)) + b) + x_l`, with `*` elementwise and `s` the activation.
    The gates are `p = softmax(G x_l)`; `V_e` maps to `projection_dim` numbers, `C_e` is square and `U_e` maps
    back. Each expert learns crosses in a subspace of its own.

    Args:
        experts: how many experts there are.
        projection_dim: the rank of the experts; None is a quarter of the features' width.
        activation: in the subspaces.

    Inputs: `x0`, the original features `(batch, dim)`, and `x`, the last cross layer's output, of the same shape;
        without `x` it is `x0`, as in the first layer.

    Output: `(batch, dim)` in the compute dtype.

    Raises:
        ValueError: `experts` or `projection_dim` is below 1, or `x0` and `x` have other or different shapes.

    Example:

    >>> x0 = np.ones((4, 32), "float32")
    >>> x1 = kr.layers.CrossMixture(experts=4, projection_dim=8)(x0)
    >>> kr.layers.CrossMixture(experts=4, projection_dim=8)(x0, x1).shape
    (4, 32)

    Source: Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to
    Rank Systems", https://arxiv.org/abs/2008.13535
    """

    def __init__(
        self,
        experts: int = 4,
        projection_dim: int | None = None,
        activation: Activation = "tanh",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.experts = at_least_one(self.name, "experts", experts)
        self.projection_dim = (
            None if projection_dim is None else at_least_one(self.name, "projection_dim", projection_dim)
        )
        self.activation = keras.activations.get(activation)

    def build(self, x0_shape: Shape, x_shape: Shape | None = None) -> None:
        dim = x0_shape[-1]
        if len(x0_shape) != 2 or dim is None:
            raise ValueError(f"{self.name}: x0 must have shape (batch, dim); got {tuple(x0_shape)}")
        n, rank = self.experts, self.projection_dim or max(1, dim // 4)
        glorot = glorot_of_each(n)
        self.down = self.add_weight(name="down", shape=(n, dim, rank), initializer=glorot)
        self.core = self.add_weight(name="core", shape=(n, rank, rank), initializer=glorot.clone())
        self.up = self.add_weight(name="up", shape=(n, rank, dim), initializer=glorot.clone())
        self.bias = self.add_weight(name="bias", shape=(dim,), initializer="zeros")
        self.gate = self.add_weight(name="gate", shape=(dim, n), initializer="glorot_uniform")

    def call(self, x0: Tensor, x: Tensor = None) -> Tensor:
        x = x0 if x is None else x
        if x.shape[-1] != x0.shape[-1] or len(x.shape) != len(x0.shape):
            raise ValueError(
                f"{self.name}: x0 and x must have equal shapes; got {tuple(x0.shape)} and {tuple(x.shape)}"
            )
        gates = ops.softmax(ops.matmul(x, self.gate), axis=-1)
        low = self.activation(ops.matmul(ops.expand_dims(x, 0), self.down))  # (experts, batch, rank)
        low = self.activation(ops.matmul(low, self.core)) * ops.expand_dims(ops.transpose(gates), -1)
        # The gated sum over experts is part of the last product: no expert's output of the full width is made.
        low = ops.reshape(ops.transpose(low, (1, 0, 2)), (-1, self.experts * low.shape[-1]))
        up = ops.reshape(self.up, (-1, x0.shape[-1]))
        return x0 * (ops.matmul(low, up) + self.bias) + x

    def compute_output_shape(self, x0_shape: Shape, x_shape: Shape | None = None) -> tuple[int | None, ...]:
        return tuple(x0_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "experts": self.experts,
            "projection_dim": self.projection_dim,
            "activation": keras.activations.serialize(self.activation),
        }
