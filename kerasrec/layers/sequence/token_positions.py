"""The places of tokens as trained vectors, counted from the end of their rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.gradients import Operation
from kerasrec.layers.sequence.token_rows import TokenRows
from kerasrec.typing import Initializer, Shape, Tensor


class TokenPositions(keras.layers.Layer):
    """Adds to each token a trained vector of its place, `x + P[number of tokens after it]`.

    Places are counted from the end, so that the most recent event has the same vector however many came before.

    Args:
        max_length: of the longest row.
        initializer: of the vectors.

    Inputs: `(tokens, dim)` and their `TokenRows`.
    """

    def __init__(self, max_length: int, initializer: Initializer = "uniform", **kwargs: Any):
        super().__init__(**kwargs)
        self.max_length, self.initializer = max_length, keras.initializers.get(initializer)

    def build(self, input_shape: Shape) -> None:
        shape = (self.max_length, input_shape[-1])
        self.vectors = self.add_weight(name="vectors", shape=shape, initializer=self.initializer)

    def call(self, x: Tensor, rows: TokenRows) -> Tensor:
        return x + take_rows(ops.cast(self.vectors, x.dtype), rows.from_end())

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)


def take_rows(matrix: Tensor, index: Tensor) -> Tensor:
    """Return rows of a small matrix, each of which is used often: its gradient is dense, not of single rows."""
    if keras.backend.backend() != "tensorflow":
        return ops.take(matrix, index, axis=0)
    return _TAKE([matrix, index])[0]


def _take(inputs: Sequence[Tensor]) -> list[Tensor]:
    return [ops.take(inputs[0], inputs[1], axis=0)]


def _take_gradient(inputs: Sequence[Tensor], upstream: Sequence[Tensor]) -> list[Tensor | None]:
    matrix, index = inputs
    return [ops.segment_sum(upstream[0], index, ops.shape(matrix)[0]), None]


_TAKE = Operation("KerasrecTakeRows", _take, _take_gradient)
