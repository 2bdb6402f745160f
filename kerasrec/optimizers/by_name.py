"""`get`: the optimizer of an identifier, as `keras.optimizers.get`, but of this package where it has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from kerasrec.optimizers.adagrad import Adagrad
from kerasrec.optimizers.adam import Adam, AdamW
from kerasrec.optimizers.base import TableOptimizer
from kerasrec.optimizers.ftrl import Ftrl
from kerasrec.optimizers.rowwise_adagrad import RowwiseAdagrad
from kerasrec.optimizers.sgd import SGD
from kerasrec.typing import Optimizer

BY_NAME: dict[str, type[Optimizer]] = {
    cls.__name__.lower(): cls for cls in (Adagrad, Adam, AdamW, Ftrl, RowwiseAdagrad, SGD)
}


def get(identifier: str | Mapping[str, Any] | Optimizer) -> Optimizer:
    """Return an optimizer by its name, serialised form or itself.

    Case and underscores do not matter. "adagrad", "adam", "adamw", "ftrl", "rowwise_adagrad" and "sgd" are the
    optimizers of this package, which update only the rows of tables that a batch looks up; others are Keras's.

    Raises:
        ValueError: neither has an optimizer of that name.

    Example:

    >>> kr.optimizers.get("adam").learning_rate
    """
    if isinstance(identifier, str) and (ours := BY_NAME.get(identifier.lower().replace("_", ""))):
        return ours()
    try:
        return keras.optimizers.get(identifier)
    except ValueError:
        if not isinstance(identifier, str):
            raise
        raise ValueError(
            f"no optimizer {identifier!r}; kr.optimizers has {', '.join(sorted(BY_NAME))}; other names are those "
            "of keras.optimizers"
        ) from None


def updates_whole_tables(optimizer: Optimizer) -> bool:
    """Return whether an optimizer would update every row of a table in every step: all but this package's."""
    inner = optimizer.inner_optimizer if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) else optimizer
    return keras.backend.backend() == "tensorflow" and not isinstance(inner, TableOptimizer)
