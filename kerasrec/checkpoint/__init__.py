"""All that a training goes on with, in one folder that is complete or not there."""

from typing import TYPE_CHECKING

from kerasrec.public_names import public_names

if TYPE_CHECKING:
    from kerasrec.checkpoint.position import Position
    from kerasrec.checkpoint.training import latest, load, save

_HOME = {
    "Position": "kerasrec.checkpoint.position",
    "latest": "kerasrec.checkpoint.training",
    "load": "kerasrec.checkpoint.training",
    "save": "kerasrec.checkpoint.training",
}

__all__ = ["Position", "latest", "load", "save"]

__getattr__, __dir__ = public_names(__name__, __all__, _HOME)
