"""The feature selection of FinalMLP: gates that a context sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers.mlp import MLP, widths
from kerasrec.typing import Activation, Initializer, Regularizer, Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class FeatureSelection(keras.layers.Layer):
    """Multiplies features with gates between 0 and 2.

    `y = 2 * sigmoid(g) * x`, with `*` elementwise, where `g = MLP(context)`, linear in its last layer. Without a
    context `g` is a trained vector, 0 at first, so that `y = x`. (The paper's is an `MLP` of a trained vector,
    which can express no more and may start with a dead ReLU.)

    Args:
        units: the widths of the hidden layers of the `MLP`; it has none without a context.
        activation, kernel_initializer, kernel_regularizer: of the `MLP`, as `kr.layers.MLP` takes them.

    Inputs: `x`, the features `(batch, dim)`, and `context` `(batch, n)` or None.

    Output: `(batch, dim)` in the compute dtype.

    Raises:
        ValueError: a width below 1, or inputs of another shape.

    Example:

    >>> x, user = np.ones((4, 64), "float32"), np.ones((4, 16), "float32")
    >>> kr.layers.FeatureSelection([32])(x, user).shape
    (4, 64)

    Source: Mao et al., "FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction",
    https://arxiv.org/abs/2304.00902
    """

    def __init__(
        self,
        units: int | Sequence[int] = (64,),
        activation: Activation = "relu",
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Regularizer | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units = widths(self.name, "units", units)
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.mlp: MLP | None = None

    def build(self, x_shape: Shape, context_shape: Shape | None = None) -> None:
        if len(x_shape) != 2 or x_shape[1] is None:
            raise ValueError(f"{self.name}: x must have shape (batch, dim); got {tuple(x_shape)}")
        if context_shape is None:
            self.gate = self.add_weight(name="gate", shape=(x_shape[1],), initializer="zeros")
            return
        if len(context_shape) != 2 or context_shape[1] is None:
            raise ValueError(f"{self.name}: context must have shape (batch, n); got {tuple(context_shape)}")
        self.mlp = MLP(
            [*self.units, x_shape[1]],
            self.activation,
            final_activation=None,
            kernel_initializer=self.kernel_initializer,
            kernel_regularizer=self.kernel_regularizer,
            dtype=self.dtype_policy,
            name="mlp",
        )
        self.mlp.build(context_shape)

    def call(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if (self.mlp is None) != (context is None):
            raise ValueError(f"{self.name}: was built {'without' if self.mlp is None else 'with'} a context")
        gate = self.gate if self.mlp is None else self.mlp(context)
        return 2 * ops.sigmoid(gate) * x

    def compute_output_shape(self, x_shape: Shape, context_shape: Shape | None = None) -> tuple[int | None, ...]:
        return tuple(x_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": list(self.units),
            "activation": keras.activations.serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }
