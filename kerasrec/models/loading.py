"""Load what `model.save` wrote."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from kerasrec.files.readable import what_is_wrong


def load_model(
    path: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> keras.Model:
    """Load a `.keras` file, `keras.saving.load_model` with this package's classes registered.

    `keras.saving.load_model` does the same once `kerasrec` was imported.

    Args:
        path, custom_objects, compile, safe_mode: as in `keras.saving.load_model`.

    Raises:
        ValueError: the file is damaged, named; and what Keras raises.

    Example:

    >>> model.save("model.keras")
    >>> model = kr.load_model("model.keras")
    """
    if Path(path).exists() and not Path(path).is_dir() and (wrong := what_is_wrong(Path(path))):
        raise ValueError(f"{path} cannot be read as a model: {wrong}")
    try:
        return keras.saving.load_model(path, custom_objects=custom_objects, compile=compile, safe_mode=safe_mode)
    except Exception as error:
        damage = _damage(Path(path))
        if damage is None:
            raise
        raise ValueError(f"{path}: the file is damaged, or not a .keras file: {damage}") from error


def _damage(path: Path) -> str | None:
    """Return what is wrong with a `.keras` file, a zip file whose members have CRC-32s; None for other files."""
    if path.suffix != ".keras" or not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as file:
            if missing := {"metadata.json", "config.json"} - set(file.namelist()):
                return f"it has no {min(missing)!r}"
            member = file.testzip()
    except Exception as error:  # zipfile has several kinds, and zlib its own
        return str(error) or type(error).__name__
    return None if member is None else f"the CRC-32 of its {member!r} does not match"
