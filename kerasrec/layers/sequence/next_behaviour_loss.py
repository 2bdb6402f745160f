"""DIEN's auxiliary loss: an interest must tell the next behaviour from another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers.mlp import MLP
from kerasrec.typing import Activation, Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class NextBehaviourLoss(keras.layers.Layer):
    """Adds to the loss how badly the interests `h_t` of a history predict its next behaviours `e_{t+1}`.

    With `s` a small network of `[h, e]` with one linear output, and `e'_{t+1}` the behaviour that the previous row
    of the batch has in that place: `weight * mean(softplus(-s(h_t, e_{t+1})) + softplus(s(h_t, e'_{t+1})))`, the
    binary cross-entropy of both. So the negatives are drawn as often as behaviours occur, and need no column of
    their own. The mean is over the places where both rows have a behaviour, and not the same one; it is 0 where
    there are none, as in a batch of one row. It is computed in float32 or wider, and in training only.

    Args:
        units: widths of the network's hidden layers.
        activation: of the hidden layers.
        weight: of the loss, beside the model's own.

    Inputs: `interests` `(batch, length, units)`, `history` `(batch, length, dim)` in the order of time, and
        `history_mask` `(batch, length)` or None.

    Output: the interests, unchanged.

    Raises:
        ValueError: inputs of other shapes, `units` below 1, or a negative `weight`.

    Example:

    >>> history = keras.Input((50, 16))
    >>> interests = keras.layers.GRU(16, return_sequences=True)(history)
    >>> interests = kr.layers.NextBehaviourLoss(weight=0.5)(interests, history)

    Source: Zhou et al., "Deep Interest Evolution Network for Click-Through Rate Prediction",
    https://arxiv.org/abs/1809.03672
    """

    def __init__(
        self,
        units: int | Sequence[int] = (100, 50),
        activation: Activation = "relu",
        weight: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if weight < 0:
            raise ValueError(f"{self.name}: weight must be >= 0; got {weight!r}")
        self.weight = weight
        self.hidden = MLP(units, keras.activations.get(activation), dtype=self.dtype_policy, name="hidden")
        # The last layer makes a logit: bfloat16 has three digits of it.
        wide = keras.backend.result_type(self.compute_dtype, "float32")
        self.score = keras.layers.Dense(1, dtype=wide, name="score")
        self.supports_masking = True

    def build(self, interests_shape: Shape, history_shape: Shape) -> None:
        width, dim = interests_shape[-1], history_shape[-1]
        if len(interests_shape) != 3 or len(history_shape) != 3 or width is None or dim is None:
            raise ValueError(
                f"{self.name}: interests and history must have shape (batch, length, dim); got "
                f"{tuple(interests_shape)} and {tuple(history_shape)}"
            )
        self.hidden.build((None, None, width + dim))
        self.score.build((None, None, self.hidden.units[-1]))

    def call(
        self,
        interests: Tensor,
        history: Tensor,
        history_mask: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        if training:
            self.add_loss(self.weight * self._loss(interests[:, :-1], history[:, 1:], history_mask))
        return interests

    def _loss(self, interests: Tensor, following: Tensor, mask: Tensor | None) -> Tensor:
        others = ops.roll(following, 1, axis=0)
        pairs = ops.any(ops.not_equal(following, others), axis=-1)
        if mask is not None:
            mask = ops.cast(mask, "bool")
            present = ops.logical_and(mask[:, :-1], mask[:, 1:])
            pairs = ops.logical_and(pairs, ops.logical_and(present, ops.roll(mask[:, 1:], 1, axis=0)))
        losses = ops.softplus(-self._scores(interests, following)) + ops.softplus(self._scores(interests, others))
        pairs = ops.cast(pairs, losses.dtype)
        return ops.sum(losses * pairs) / ops.maximum(ops.sum(pairs), 1.0)

    def _scores(self, interests: Tensor, behaviours: Tensor) -> Tensor:
        pairs = ops.concatenate([interests, behaviours], axis=-1)
        return ops.squeeze(self.score(self.hidden(pairs)), -1)

    def compute_output_shape(self, interests_shape: Shape, history_shape: Shape) -> Shape:
        return tuple(interests_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": list(self.hidden.units),
            "activation": keras.activations.serialize(self.hidden.activation),
            "weight": self.weight,
        }
