"""All that a training goes on with, in one folder that is complete or not there."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerasrec.checkpoint.position import Position
    from kerasrec.checkpoint.training import latest, load, save

_HOME = {"Position": "position", "latest": "training", "load": "training", "save": "training"}

__all__ = ["Position", "latest", "load", "save"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
