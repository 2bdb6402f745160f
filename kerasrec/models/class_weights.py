"""`class_weight` of `fit` for a loader, which Keras does not apply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops


def with_class_weights(data: Any, class_weight: Mapping[int, float]) -> tuple[Any, Any, Any]:
    """Return a batch `(x, y)` with weights for its rows: that of a row's class, the nearest integer to `y`, or 1.

    Raises:
        ValueError: the batch has weights already, or no target.
    """
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    if y is None:
        raise ValueError("class_weight needs a target; the data has none")
    if weight is not None:
        raise ValueError(
            "class_weight cannot be used with Loader(sample_weight=...): multiply the two in the data"
        )
    classes = ops.cast(ops.round(ops.reshape(y, (-1,))), "int32")
    weights = ops.ones_like(classes, dtype="float32")
    for number, factor in class_weight.items():
        weights = ops.where(ops.equal(classes, int(number)), ops.cast(factor, "float32"), weights)
    return x, y, weights
