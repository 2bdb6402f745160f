"""The check of the shapes that interaction layers take."""

from __future__ import annotations

from typing import Any


def same_vectors(layer: str, inputs: Any) -> tuple[int | None, int, int]:
    """Check that `inputs`, tensors or their shapes, are a list of `(batch, dim)` with one known `dim`.

    Returns:
        `(batch, number of vectors, dim)`; batch is None while it is unknown.

    Raises:
        ValueError: the message names the layer and the input with its shape.
    """
    listed = isinstance(inputs, (list, tuple)) and len(inputs) > 0
    if not listed or not all(hasattr(x, "shape") or isinstance(x, (list, tuple)) for x in inputs):
        raise ValueError(f"{layer}: inputs must be a list of tensors (batch, dim); got {_described(inputs)}")
    shapes = [tuple(getattr(x, "shape", x)) for x in inputs]
    for i, shape in enumerate(shapes):
        if len(shape) != 2 or shape[1] is None:
            raise ValueError(f"{layer}: input {i} has shape {shape}; every input must be (batch, dim)")
        if shape[1] != shapes[0][1]:
            raise ValueError(
                f"{layer}: input {i} has dim {shape[1]}, but input 0 has dim {shapes[0][1]}; they must be equal"
            )
    return (shapes[0][0], len(shapes), shapes[0][1])


def _described(inputs: Any) -> str:
    return f"one tensor {tuple(inputs.shape)}" if hasattr(inputs, "shape") else repr(inputs)
