"""What the accumulators of Adagrad and RowwiseAdagrad begin with."""

from __future__ import annotations

import keras

from kerasrec.tables.variables import is_table
from kerasrec.typing import Initializer, Variable

# Of weights that are not tables. With 0 their first step is the learning rate, whatever their gradient.
DENSE = 1e-5


def accumulators_of(variable: Variable, given: float | None, dense: float = DENSE) -> Initializer:
    """Return the initializer of a variable's accumulators: the value that is given, or that of its kind."""
    return keras.initializers.Constant((0.0 if is_table(variable) else dense) if given is None else given)
