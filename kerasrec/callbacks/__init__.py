"""Callbacks for `fit`."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerasrec.callbacks.checkpoint import Checkpoint
    from kerasrec.callbacks.early_stopping import EarlyStopping

__all__ = ["Checkpoint", "EarlyStopping"]

_MODULES = {"Checkpoint": "checkpoint", "EarlyStopping": "early_stopping"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
