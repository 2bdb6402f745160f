"""A sum whose gradients were computed together with it."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops

from kerasrec.gradients import Operation
from kerasrec.typing import Tensor


def with_gradients(total: Tensor, inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Return a scalar whose gradients by `inputs` are `gradients`, as constants.

    A loss whose examples have known weights need not be computed twice, or keep what it was computed from.
    """
    if keras.backend.backend() != "tensorflow":  # x - constant(x) is 0 and has the gradient 1
        products = (ops.sum(g * (x - ops.stop_gradient(x))) for x, g in zip(inputs, gradients, strict=True))
        return sum(products, start=total)
    return _KNOWN([*inputs, total, *gradients], count=len(inputs))[0]


def _total(inputs: Sequence[Tensor], count: int) -> list[Tensor]:
    return [inputs[count]]


def _times_upstream(inputs: Sequence[Tensor], upstream: Sequence[Tensor], count: int) -> list[Tensor | None]:
    (factor,) = upstream
    return [*(factor * gradient for gradient in inputs[count + 1 :]), *([None] * (count + 1))]


_KNOWN = Operation("KerasrecKnownGradients", _total, _times_upstream)
