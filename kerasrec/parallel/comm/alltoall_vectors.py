"""Vectors sent between ranks, whose gradients go back the same way. TensorFlow only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kerasrec.gradients import Operation
from kerasrec.parallel import comm
from kerasrec.parallel.comm.message_parts import cut, join
from kerasrec.typing import Tensor


def alltoall_vectors(
    parts: Sequence[Tensor],
    sent: Tensor,
    received: Tensor,
    name: str,
    wire_dtype: str,
    silent: int,
    training: bool,
) -> list[Tensor]:
    """Send each rank its vectors of several parts, as one message, and return those received of each part.

    Args:
        parts: each (n, width), floating, of one dtype; the vectors for rank 0 come first, and so on.
        sent, received: (ranks, parts) int32, how many vectors of each part each rank gets, and sends here.
        name: of the messages, `name.vectors` and `name.gradients`; equal on every rank.
        wire_dtype: the dtype in which they travel.
        silent: how many of the last parts are not sent: zeros are received, but their gradients go back.
        training: whether gradients may be asked for.

    Returns:
        For each part (m, width), those from rank 0 first.
    """
    widths = [part.shape[1] for part in parts]
    settings = {"name": name, "wire_dtype": wire_dtype, "silent": silent, "training": training}
    return _ALLTOALL([*parts, sent, received], widths=widths, **settings)


def _send(
    parts: Sequence[Tensor], sent: Tensor, received: Tensor, widths: list[int], name: str, dtype: str
) -> Any:
    message, splits = join(parts, sent * widths)
    message, _ = comm.alltoall(tf.cast(message, dtype), splits, name)
    parts = cut(tf.cast(message, parts[0].dtype), received * widths)
    return [tf.reshape(part, (-1, width)) for part, width in zip(parts, widths, strict=True)]


def _vectors(
    inputs: Sequence[Tensor], name: str, wire_dtype: str, widths: list[int], silent: int, training: bool
) -> list[Tensor]:
    *parts, sent, received = inputs
    n = len(parts) - silent
    vectors = _send(parts[:n], sent[:, :n], received[:, :n], widths[:n], f"{name}.vectors", wire_dtype)
    counts = tf.reduce_sum(received, axis=0)
    return vectors + [tf.zeros((counts[k], widths[k]), parts[k].dtype) for k in range(n, len(parts))]


def _gradients(
    inputs: Sequence[Tensor],
    upstream: Sequence[Any],
    name: str,
    wire_dtype: str,
    widths: list[int],
    silent: int,
    training: bool,
) -> list[Tensor | None]:
    if not training:
        raise ValueError(f"{name}: gradients need training=True; call the layer or the model with it")
    *_, sent, received = inputs
    gradients = [tf.convert_to_tensor(each) for each in upstream]
    return [*_send(gradients, received, sent, widths, f"{name}.gradients", wire_dtype), None, None]


_ALLTOALL = Operation("KerasrecAlltoallVectors", _vectors, _gradients)
