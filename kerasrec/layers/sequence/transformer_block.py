"""A transformer block: self-attention and a feed-forward network, each with a residual and a normalisation."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec.typing import Initializer, Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class TransformerBlock(keras.layers.Layer):
    """Lets the elements of a sequence attend to one another, then passes each through a small network.

    `S = norm(x + dropout(attention(x)))`, output `norm(S + dropout(LeakyReLU(S W_1 + b_1) W_2 + b_2))`, where
    attention is `keras.layers.MultiHeadAttention` with heads of `dim / heads` and norm
    `keras.layers.LayerNormalization`. No element attends to one that the mask leaves out.

    Args:
        heads: the number of attention heads; it divides the width of the inputs.
        units: the width of `W_1`; by default that of the inputs.
        dropout: of the attention and of both networks' outputs.
        negative_slope: of the leaky ReLU.
        kernel_initializer: of all matrices.

    Inputs: `(batch, length, dim)`, and a `mask` `(batch, length)` or None.

    Output: the same shape, in the compute dtype; the mask passes on.

    Raises:
        ValueError: inputs of another shape, or a width that `heads` does not divide.

    Example:

    >>> kr.layers.TransformerBlock(heads=2)(np.ones((4, 50, 32), "float32")).shape
    (4, 50, 32)

    Source: Chen et al., "Behavior Sequence Transformer for E-commerce Recommendation in Alibaba",
    https://arxiv.org/abs/1905.06874; Vaswani et al., "Attention Is All You Need", https://arxiv.org/abs/1706.03762
    """

    def __init__(
        self,
        heads: int = 2,
        units: int | None = None,
        dropout: float = 0.0,
        negative_slope: float = 0.01,
        kernel_initializer: Initializer = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if int(heads) != heads or heads < 1:
            raise ValueError(f"{self.name}: heads must be an integer >= 1; got {heads!r}")
        self.heads, self.units, self.dropout, self.negative_slope = int(heads), units, dropout, negative_slope
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        dim = input_shape[-1]
        if len(input_shape) != 3 or dim is None:
            raise ValueError(f"{self.name}: inputs must have shape (batch, length, dim); got {tuple(input_shape)}")
        if dim % self.heads:
            raise ValueError(f"{self.name}: heads must divide the width of the inputs, {dim}; got {self.heads}")
        policy = {"dtype": self.dtype_policy}
        self.attention = keras.layers.MultiHeadAttention(
            self.heads,
            dim // self.heads,
            dropout=self.dropout,
            kernel_initializer=self.kernel_initializer.clone(),
            name="attention",
            **policy,
        )
        self.attention.build(input_shape, input_shape)
        self.expand, self.contract = (
            keras.layers.Dense(width, kernel_initializer=self.kernel_initializer.clone(), name=name, **policy)
            for name, width in (("expand", self.units or dim), ("contract", dim))
        )
        self.expand.build(input_shape)
        self.contract.build((*input_shape[:-1], self.units or dim))
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-5, **policy) for _ in range(2)]
        for norm in self.norms:
            norm.build(input_shape)
        self.drops = [keras.layers.Dropout(self.dropout, **policy) for _ in range(2)]

    def call(self, inputs: Tensor, mask: Tensor | None = None, training: bool | None = None) -> Tensor:
        attended = self.attention(
            inputs, inputs, attention_mask=None if mask is None else ops.expand_dims(mask, 1), training=training
        )
        x = self.norms[0](inputs + self.drops[0](attended, training=training))
        outputs = self.contract(ops.leaky_relu(self.expand(x), self.negative_slope))
        return self.norms[1](x + self.drops[1](outputs, training=training))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "heads": self.heads,
            "units": self.units,
            "dropout": self.dropout,
            "negative_slope": self.negative_slope,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
