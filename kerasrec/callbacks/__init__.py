"""Callbacks for `fit`."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerasrec.callbacks.checkpoint import Checkpoint

__all__ = ["Checkpoint"]


def __getattr__(name: str) -> Any:
    if name == "Checkpoint":
        return importlib.import_module(f"{__name__}.checkpoint").Checkpoint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
