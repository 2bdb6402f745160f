"""From Parquet files to batches: the `Loader`."""

from typing import TYPE_CHECKING

from kerasrec.public_names import public_names

if TYPE_CHECKING:
    from kerasrec.data.draw_negatives import DrawNegatives
    from kerasrec.data.loader import Loader

__all__ = ["DrawNegatives", "Loader"]

# Loader needs Keras, so it is imported when it is first used.
_HOME = {"DrawNegatives": "kerasrec.data.draw_negatives", "Loader": "kerasrec.data.loader"}
__getattr__, __dir__ = public_names(__name__, __all__, _HOME)
