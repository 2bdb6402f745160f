"""`get`: the optimizer of an identifier, as `keras.optimizers.get`, but of this package where it has one."""

from __future__ import annotations

import warnings
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


def warn_of_whole_tables(optimizer: Optimizer) -> None:
    """Warn of an optimizer that updates every row of a table in every step, as all but this package's do."""
    inner = optimizer.inner_optimizer if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) else optimizer
    if keras.backend.backend() != "tensorflow" or isinstance(inner, TableOptimizer):
        return  # gradients of other backends are dense, so no optimizer is faster there
    name = type(inner).__name__
    ours = (
        f"kr.optimizers.{name}, which updates" if name.lower() in BY_NAME else "one of kr.optimizers, which update"
    )
    warnings.warn(
        f"{name} of Keras updates every row of every embedding table in every step; use {ours} only the rows "
        "that a batch looks up",
        stacklevel=2,
    )
