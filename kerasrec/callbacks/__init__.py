"""Callbacks for `fit`."""

from typing import TYPE_CHECKING

from kerasrec.public_names import public_names

if TYPE_CHECKING:
    from kerasrec.callbacks.checkpoint import Checkpoint
    from kerasrec.callbacks.early_stopping import EarlyStopping

__all__ = ["Checkpoint", "EarlyStopping"]

_HOME = {
    "Checkpoint": "kerasrec.callbacks.checkpoint",
    "EarlyStopping": "kerasrec.callbacks.early_stopping",
}
__getattr__, __dir__ = public_names(__name__, __all__, _HOME)
