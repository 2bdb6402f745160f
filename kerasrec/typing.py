"""Names for the types that signatures speak of; importing it imports no framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import keras

    Optimizer: TypeAlias = keras.optimizers.Optimizer
    Variable: TypeAlias = keras.Variable
    # By its name, its serialised form, or itself; several by the name of a column or table.
    Initializer: TypeAlias = str | Mapping[str, Any] | keras.initializers.Initializer
    Regularizer: TypeAlias = str | Mapping[str, Any] | keras.regularizers.Regularizer
    Activation: TypeAlias = str | Mapping[str, Any] | Callable[..., Any]
    LearningRate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule | Callable[[], float]
else:
    Optimizer = Variable = Initializer = Regularizer = Activation = LearningRate = Any

# A tensor of whichever backend is in use: `tf.Tensor`, `torch.Tensor`, `jax.Array` or a Keras symbolic tensor.
Tensor: TypeAlias = Any
Shape: TypeAlias = tuple[int | None, ...]

__all__ = ["Activation", "Initializer", "LearningRate", "Optimizer", "Regularizer", "Shape", "Tensor", "Variable"]
