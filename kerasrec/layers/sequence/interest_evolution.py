"""DIEN's interest evolution: how the interests of a history that concern a target move."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec.layers.sequence.augru import AUGRU
from kerasrec.layers.sequence.shapes import check_history, masked_softmax
from kerasrec.typing import Initializer, Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class InterestEvolution(keras.layers.Layer):
    """Follows the interests `h_1 .. h_L` of a history, as far as they bear on a target `t`.

    The attention of step l is `a_l = softmax_l(h_l W t)`, the output the last state of an `AUGRU` over the
    interests with this attention. A row without behaviours gives zeros.

    Args:
        units: the width of the state.
        softmax: False takes `a_l = h_l W t` itself.
        kernel_initializer: of the AUGRU's matrix; `W` begins as the identity.

    Inputs: `target` `(batch, dim)`, `history` `(batch, length, width)`, the interests in the order of time, and
        `history_mask` `(batch, length)`, which in a functional model follows the history.

    Output: `(batch, units)` in the compute dtype.

    Raises:
        ValueError: inputs of other shapes, or `units` below 1.

    Example:

    >>> item, interests = np.ones((4, 16), "float32"), np.ones((4, 50, 16), "float32")
    >>> kr.layers.InterestEvolution(16)(item, interests).shape
    (4, 16)

    Source: Zhou et al., "Deep Interest Evolution Network for Click-Through Rate Prediction",
    https://arxiv.org/abs/1809.03672
    """

    def __init__(
        self, units: int, softmax: bool = True, kernel_initializer: Initializer = "glorot_uniform", **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.units, self.softmax = units, softmax
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.augru = AUGRU(units, kernel_initializer, dtype=self.dtype_policy, name="augru")
        self.supports_masking = True

    def build(self, target_shape: Shape, history_shape: Shape) -> None:
        dim, width = check_history(self.name, target_shape, history_shape)
        self.kernel = self.add_weight(name="kernel", shape=(width, dim), initializer="identity")
        self.augru.build(history_shape, history_shape[:2])

    def call(self, target: Tensor, history: Tensor, history_mask: Tensor | None = None) -> Tensor:
        projected = ops.expand_dims(ops.matmul(target, ops.transpose(self.kernel)), -1)
        scores = ops.squeeze(ops.matmul(history, projected), -1)
        if self.softmax:
            scores = ops.cast(scores, keras.backend.result_type(self.compute_dtype, "float32"))
            scores = ops.cast(masked_softmax(scores, history_mask), self.compute_dtype)
        return self.augru(history, scores, sequence_mask=history_mask)

    def compute_mask(self, target: Tensor, history: Tensor, *masks: Tensor) -> None:
        """Return None: the output is one vector per row."""

    def compute_output_shape(self, target_shape: Shape, history_shape: Shape) -> Shape:
        return (target_shape[0], self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "softmax": self.softmax,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
