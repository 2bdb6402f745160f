"""From Parquet files to batches: the `Loader`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerasrec.data.loader import Loader

__all__ = ["Loader"]


def __getattr__(name: str) -> Any:  # Loader needs Keras, so it is imported when asked for
    if name == "Loader":
        from kerasrec.data.loader import Loader

        return Loader
    raise AttributeError(f"module 'kerasrec.data' has no attribute {name!r}")
