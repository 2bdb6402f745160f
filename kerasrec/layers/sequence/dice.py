"""Dice, the activation of DIN: a gate that follows the distribution of its inputs."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec.typing import Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class Dice(keras.layers.Layer):
    """Computes `p * x + alpha * (1 - p) * x` with `p = sigmoid((x - mean) / sqrt(variance + epsilon))`.

    `mean` and `variance` are those of each unit in the batch, and outside training their moving averages;
    `alpha` is trained, one per unit. It is a PReLU whose step is smooth and lies where the inputs do, not at 0.

    Padding that `mask` excludes takes no part in the statistics. The moving averages are divided by the share of
    batches that they have seen, as Adam's are, so that they are right from the first batch on. Statistics are
    computed in float32 or wider, also under a mixed policy.

    Args:
        momentum: of the moving averages.
        epsilon: added to the variance.

    Inputs: `(batch, ..., units)`, and a `mask` `(batch, ...)` or None.

    Output: the same shape.

    Raises:
        ValueError: `momentum` is outside [0, 1), `epsilon` is not positive, or the inputs have another rank than
            2 or more with known units.

    Example:

    >>> kr.layers.Dice()(np.ones((4, 50, 64), "float32")).shape
    (4, 50, 64)

    Source: Zhou et al., "Deep Interest Network for Click-Through Rate Prediction",
    https://arxiv.org/abs/1706.06978
    """

    def __init__(self, momentum: float = 0.99, epsilon: float = 1e-9, **kwargs: Any):
        super().__init__(**kwargs)
        if not 0 <= momentum < 1:
            raise ValueError(f"{self.name}: momentum must be in [0, 1); got {momentum!r}")
        if not epsilon > 0:
            raise ValueError(f"{self.name}: epsilon must be > 0; got {epsilon!r}")
        self.momentum, self.epsilon = momentum, epsilon
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(f"{self.name}: inputs must have shape (batch, ..., units); got {tuple(input_shape)}")
        units = (input_shape[-1],)
        self.alpha = self.add_weight(name="alpha", shape=units, initializer="zeros")
        moving = {"initializer": "zeros", "trainable": False, "autocast": False}
        self.moving_mean = self.add_weight(name="moving_mean", shape=units, **moving)
        self.moving_variance = self.add_weight(name="moving_variance", shape=units, **moving)
        self.moving_weight = self.add_weight(name="moving_weight", shape=(), **moving)

    def call(self, inputs: Tensor, mask: Tensor | None = None, training: bool | None = None) -> Tensor:
        dtype = keras.backend.result_type(self.compute_dtype, "float32")
        x = ops.cast(inputs, dtype)
        mean, variance = self._batch_statistics(x, mask) if training else self._moving_statistics()
        scale = ops.rsqrt(variance + self.epsilon)
        p = ops.sigmoid(x * scale - mean * scale)
        alpha = ops.cast(self.alpha, dtype)
        return ops.cast(x * (alpha + (1 - alpha) * p), self.compute_dtype)

    def _batch_statistics(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the mean and variance `(units,)` of a batch, and let the moving averages follow them."""
        rows = ops.reshape(x, (-1, x.shape[-1]))
        weights = ops.ones_like(rows[:, 0]) if mask is None else ops.cast(ops.reshape(mask, (-1,)), x.dtype)
        count = ops.sum(weights)
        shares = ops.expand_dims(weights / ops.maximum(count, 1), 0)  # the sum over rows as a product of matrices
        mean = ops.squeeze(ops.matmul(shares, rows), 0)
        variance = ops.maximum(ops.squeeze(ops.matmul(shares, ops.square(rows)), 0) - ops.square(mean), 0)
        if self.trainable:
            rate = (1 - self.momentum) * ops.cast(count > 0, x.dtype)
            for moving, value in (
                (self.moving_mean, mean),
                (self.moving_variance, variance),
                (self.moving_weight, ops.ones((), x.dtype)),
            ):
                moving.assign(moving + ops.cast(rate * (value - ops.cast(moving, x.dtype)), moving.dtype))
        return mean, variance

    def _moving_statistics(self) -> tuple[Tensor, Tensor]:
        """Return the averages over the batches so far; a mean of 0 and a variance of 1 before the first."""
        weight = self.moving_weight.value
        seen = weight > 0
        divisor = ops.where(seen, weight, ops.ones_like(weight))
        return self.moving_mean / divisor, ops.where(seen, self.moving_variance / divisor, 1.0)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}
