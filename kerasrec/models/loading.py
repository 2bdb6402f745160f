"""Load what `model.save` wrote."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from kerasrec.files.readable import what_is_wrong

_UNKNOWN_CLASS = re.compile(r"Could not locate class '(\w+)'")  # in Keras's message, with the class's config


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
        ValueError: the file is damaged, named, or a class in it is your own and its module not imported yet;
            and what Keras raises.

    Example:

    >>> model.save("model.keras")
    >>> model = kr.load_model("model.keras")
    """
    if Path(path).exists() and not Path(path).is_dir() and (wrong := what_is_wrong(Path(path))):
        raise ValueError(f"{path} cannot be read as a model: {wrong}")
    try:
        return keras.saving.load_model(path, custom_objects=custom_objects, compile=compile, safe_mode=safe_mode)
    except Exception as error:
        if unknown := _UNKNOWN_CLASS.match(str(error)):
            raise ValueError(_not_imported(path, unknown[1], str(error))) from error
        damage = _damage(Path(path))
        if damage is None:
            raise
        raise ValueError(f"{path}: the file is damaged, or not a .keras file: {damage}") from error


def _not_imported(path: str | os.PathLike[str], name: str, message: str) -> str:
    """Return what to do about a class that Keras does not know."""
    home = re.search(rf"'module': '([\w.]+)', 'class_name': '{name}'", message)
    if home is None or home[1] == "builtins":
        return f"{path}: class {name!r} is not registered with Keras; pass custom_objects={{{name!r}: ...}}"
    return (
        f"{path}: class {name!r} is defined in module {home[1]!r}, which has not been imported. If you trust that "
        f"module, import it before loading, pass trust=[{home[1]!r}] to kr.load, or --trust {home[1]} to the "
        "command. The class must be decorated with @keras.saving.register_keras_serializable()"
    )


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
