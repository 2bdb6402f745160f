"""The variables that optimizers have for variables of the model, and how those of large tables are made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import keras

from kerasrec.tables.row_io import filled_rows
from kerasrec.tables.variables import TableVariable
from kerasrec.typing import Tensor, Variable


class StackState(NamedTuple):
    """A variable that an optimizer has for a stack of tables; `keys` are its tables' keys in a file, by name."""

    variable: TableVariable
    slot: Variable
    keys: dict[str, str]


def table_names(variable: TableVariable) -> list[str]:
    """Return the names of a stack's tables."""
    return [columns.source.name for columns in variable.shards.slices]


class Slots:
    """The optimizer's variables, by the model's variable and by name."""

    def __init__(self) -> None:
        self._all: list[tuple[Variable, str, Variable]] = []

    def add(self, variable: Variable, name: str, slot: Variable) -> None:
        self._all.append((variable, name, slot))

    def of(self, variable: Variable) -> dict[str, Variable]:
        return {name: slot for owner, name, slot in self._all if owner is variable}


def eagerly() -> AbstractContextManager[None]:
    """Leave the graph that `fit` may be tracing, so that a slot as large as a table is made in its own buffer."""
    if keras.backend.backend() != "tensorflow":
        return nullcontext()
    import tensorflow as tf

    return tf.init_scope()


def constant_rows(initializer: Any) -> Callable[..., Tensor]:
    """Return a constant initializer that needs a slot's memory once; Keras's multiplies ones by the value."""
    value = getattr(keras.initializers.get(initializer), "value", 0.0)
    return lambda shape, dtype=None: filled_rows(shape, keras.backend.standardize_dtype(dtype), value)
