"""Loss scaling for the gradients of table lookups, which are of few rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from kerasrec._keras import own_variables
from kerasrec.optimizers.sparse import is_sparse


@keras.saving.register_keras_serializable("kerasrec")
class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """Keras's dynamic loss scaling for mixed_float16, which reads the gradients of a batch's rows alone.

    Under that policy `kr.models` wrap their optimizer in it, as Keras wraps other models' in its own, which
    works with tables as well, but checks the gradients of all of their rows in every step. Arguments are Keras's.

    Example:

    >>> model.compile(kr.optimizers.LossScaleOptimizer(kr.optimizers.Adagrad()), loss="binary_crossentropy")

    Source: Micikevicius et al., "Mixed Precision Training" (ICLR 2018).
    """

    def check_finite(self, grads: Sequence[Any]) -> Any:
        return super().check_finite([g.values if is_sparse(g) else g for g in grads])

    def save_own_variables(self, store: Any) -> None:
        """Save the scale and its counter; Keras has the inner optimizer save its own state."""
        for index, variable in enumerate(own_variables(self)):
            store[str(index)] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        for index, variable in enumerate(own_variables(self)):
            variable.assign(store[str(index)])
