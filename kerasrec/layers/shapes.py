"""The inputs of interaction layers: vectors as a list or as one tensor, and the check of their shapes."""

from __future__ import annotations

from typing import Any

from keras import ops

from kerasrec.typing import Tensor


def stacked(inputs: Tensor | list[Tensor]) -> Tensor:
    """Return vectors `(batch, n, dim)`, given as a list of `(batch, dim)` or as one such tensor."""
    return ops.stack(inputs, axis=1) if isinstance(inputs, list | tuple) else inputs


def vectors_shape(layer: str, inputs: Any) -> tuple[int | None, int, int]:
    """Return `(batch, n, dim)` of vectors, or of their shapes, given as a list of `(batch, dim)` or as one.

    Raises:
        ValueError: another shape, or an unknown `n` or `dim`; the message names the layer and the input.
    """
    shape = tuple(inputs.shape) if hasattr(inputs, "shape") else inputs
    one = isinstance(shape, list | tuple) and all(size is None or isinstance(size, int) for size in shape)
    if one and len(shape) == 3 and None not in shape[1:]:
        return shape[0], shape[1], shape[2]
    return same_vectors(layer, inputs)


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
