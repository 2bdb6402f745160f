"""The inputs of layers that compare a history with a candidate, and the check of their shapes."""

from __future__ import annotations

from keras import ops

from kerasrec.typing import Shape, Tensor


def check_history(layer: str, target_shape: Shape, history_shape: Shape) -> tuple[int, int]:
    """Return the widths of a target `(batch, dim)` and of a history `(batch, length, dim)`.

    Raises:
        ValueError: another rank, or an unknown width; the message names the layer and the shape.
    """
    if len(target_shape) != 2 or target_shape[-1] is None:
        raise ValueError(f"{layer}: target must have shape (batch, dim); got {tuple(target_shape)}")
    if len(history_shape) != 3 or history_shape[-1] is None:
        raise ValueError(f"{layer}: history must have shape (batch, length, dim); got {tuple(history_shape)}")
    return target_shape[-1], history_shape[-1]


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Return the softmax of scores `(batch, length)` over the places of `mask`; zeros in a row without any."""
    if mask is None:
        return ops.softmax(scores, axis=-1)
    # Large enough to be exactly 0 after the softmax, and small enough for float16.
    return ops.softmax(ops.where(mask, scores, -30_000.0), axis=-1) * ops.cast(mask, scores.dtype)
