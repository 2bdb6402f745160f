"""From Parquet files to batches: the `Loader`."""

from typing import TYPE_CHECKING

from kerasrec.public_names import public_names

if TYPE_CHECKING:
    from kerasrec.data.loader import Loader

__all__ = ["Loader"]

# Loader needs Keras, so it is imported when it is first used.
__getattr__, __dir__ = public_names(__name__, __all__, {"Loader": "kerasrec.data.loader"})
