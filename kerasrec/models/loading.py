"""Loading what `model.save` wrote."""

from __future__ import annotations

import os
from typing import Any

import keras


def load_model(
    path: str | os.PathLike[str], custom_objects: Any = None, compile: bool = True, safe_mode: bool = True
) -> Any:
    """Load a `.keras` file, `keras.saving.load_model` with this package's classes registered.

    `keras.saving.load_model` does the same once `kerasrec` was imported.

    Args:
        path, custom_objects, compile, safe_mode: as in `keras.saving.load_model`.

    Example:

    >>> model.save("model.keras")
    >>> model = kr.load_model("model.keras")
    """
    return keras.saving.load_model(path, custom_objects=custom_objects, compile=compile, safe_mode=safe_mode)
