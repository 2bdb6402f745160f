"""The places of a sequence as trained vectors, counted from its end."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec.typing import Initializer, Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class PositionEmbedding(keras.layers.Layer):
    """Appends to each vector of a sequence a trained vector of its place.

    Places are counted from the last one, so that the most recent behaviour has the same vector however many came
    before it: with `P` of `(max_length, dim)` and a sequence of length L, place l gets `P[max_length - L + l]`.
    Sequences of several lengths are therefore padded at their beginning.

    Args:
        max_length: the length of the longest sequence.
        dim: the width of the appended vectors.
        initializer: of them.

    Inputs: `(batch, length, width)` with `length <= max_length`; a mask passes on.

    Output: `(batch, length, width + dim)` in the compute dtype.

    Raises:
        ValueError: `max_length` or `dim` below 1, or inputs of another shape or too long.

    Example:

    >>> kr.layers.PositionEmbedding(50, 16)(np.ones((4, 20, 16), "float32")).shape
    (4, 20, 32)

    Source: Chen et al., "Behavior Sequence Transformer for E-commerce Recommendation in Alibaba",
    https://arxiv.org/abs/1905.06874
    """

    def __init__(self, max_length: int, dim: int, initializer: Initializer = "uniform", **kwargs: Any):
        super().__init__(**kwargs)
        for argument, value in {"max_length": max_length, "dim": dim}.items():
            if int(value) != value or value < 1:
                raise ValueError(f"{self.name}: {argument} must be an integer >= 1; got {value!r}")
        self.max_length, self.dim = int(max_length), int(dim)
        self.initializer = keras.initializers.get(initializer)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) != 3 or (input_shape[1] or 0) > self.max_length:
            raise ValueError(
                f"{self.name}: inputs must have shape (batch, length, width) with length <= max_length "
                f"({self.max_length}); got {tuple(input_shape)}"
            )
        shape = (self.max_length, self.dim)
        self.vectors = self.add_weight(name="vectors", shape=shape, initializer=self.initializer)

    def call(self, inputs: Tensor) -> Tensor:
        length = inputs.shape[1] if isinstance(inputs.shape[1], int) else ops.shape(inputs)[1]
        vectors = ops.cast(self.vectors, self.compute_dtype)[self.max_length - length :]
        shape = (ops.shape(inputs)[0], length, self.dim)
        return ops.concatenate([inputs, ops.broadcast_to(ops.expand_dims(vectors, 0), shape)], axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], None if input_shape[-1] is None else input_shape[-1] + self.dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_length": self.max_length,
            "dim": self.dim,
            "initializer": keras.initializers.serialize(self.initializer),
        }
