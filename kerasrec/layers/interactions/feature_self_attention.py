"""The interacting layer of AutoInt: fields that attend to one another."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec.layers.shapes import stacked, vectors_shape
from kerasrec.typing import Initializer, Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class FeatureSelfAttention(keras.layers.Layer):
    """Lets feature vectors attend to one another: multi-head self-attention with a residual, without positions.

    For the vectors `v_i` and in each head, `a_ij = softmax_j <Q v_i, K v_j>` and `o_i = sum_j a_ij V v_j`. The
    output is `relu(o_i + W v_i)`, where `o_i` has the heads side by side. `W` is the identity if the vectors are
    `units` wide already. The dot products are not divided by the root of their length: `Q` learns its scale.

    Args:
        units: the width of the output vectors, all heads together.
        heads: how many heads there are; it must divide `units`.
        kernel_initializer: of the four matrices.

    Inputs: `n` feature vectors, as a list of tensors `(batch, dim)` or as one `(batch, n, dim)`.

    Output: `(batch, n, units)` in the compute dtype.

    Raises:
        ValueError: `heads` is below 1 or does not divide `units`; a tensor has another shape, or another `dim`
            than the first; the message names it.

    Example:

    >>> item, user, city = (np.ones((4, 16), "float32") for _ in range(3))
    >>> kr.layers.FeatureSelfAttention(32, heads=2)([item, user, city]).shape
    (4, 3, 32)

    Source: Song et al., "AutoInt: Automatic Feature Interaction Learning via Self-Attentive Neural Networks",
    https://arxiv.org/abs/1810.11921
    """

    def __init__(
        self, units: int = 32, heads: int = 2, kernel_initializer: Initializer = "glorot_uniform", **kwargs: Any
    ):
        super().__init__(**kwargs)
        if int(heads) != heads or heads < 1 or int(units) != units or units < 1 or units % heads:
            raise ValueError(
                f"{self.name}: units and heads must be integers >= 1, and heads must divide units; got "
                f"units={units!r}, heads={heads!r}"
            )
        self.units, self.heads = int(units), int(heads)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: Shape) -> None:
        _, _, dim = vectors_shape(self.name, input_shape)
        self.query, self.key, self.value = (self._matrix(dim, name) for name in ("query", "key", "value"))
        self.residual = None if dim == self.units else self._matrix(dim, "residual")

    def _matrix(self, dim: int, name: str) -> keras.Variable:
        initializer = self.kernel_initializer.clone()  # the same instance would draw the same numbers
        return self.add_weight(name=name, shape=(dim, self.units), initializer=initializer)

    def call(self, inputs: Tensor) -> Tensor:
        _, n, _ = vectors_shape(self.name, inputs)
        v = stacked(inputs)
        query, key, value = (self._by_head(ops.matmul(v, w), n) for w in (self.query, self.key, self.value))
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
        attention = ops.softmax(scores) if n > 1 else ops.ones_like(scores)  # Keras warns of a softmax of one
        heads = ops.transpose(ops.matmul(attention, value), (0, 2, 1, 3))
        residual = v if self.residual is None else ops.matmul(v, self.residual)
        return ops.relu(ops.reshape(heads, (-1, n, self.units)) + residual)

    def _by_head(self, x: Tensor, n: int) -> Tensor:
        """Return `(batch, heads, n, units / heads)`."""
        return ops.transpose(ops.reshape(x, (-1, n, self.heads, self.units // self.heads)), (0, 2, 1, 3))

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, int, int]:
        batch, n, _ = vectors_shape(self.name, input_shape)
        return (batch, n, self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "heads": self.heads,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
