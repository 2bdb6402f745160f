"""Names for the types that signatures speak of; importing it imports no framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import keras

    Optimizer: TypeAlias = keras.optimizers.Optimizer
    Variable: TypeAlias = keras.Variable
else:
    Optimizer = Variable = Any

# A tensor of whichever backend is in use: `tf.Tensor`, `torch.Tensor`, `jax.Array` or a Keras symbolic tensor.
Tensor: TypeAlias = Any

__all__ = ["Optimizer", "Tensor", "Variable"]
