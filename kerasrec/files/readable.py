"""Whether a file can be read, and whether JSON is what was written."""

from __future__ import annotations

import json
import stat
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEY = "crc32"
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def what_is_wrong(path: Path) -> str | None:
    """Return why a path cannot be read as a file; None for a file that is not empty.

    Reading a named pipe would wait for ever. Raises `FileNotFoundError` and other errors of the system.
    """
    status = path.stat()
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        return f"it is {_KINDS.get(kind, 'something else')}, not a file"
    return None if status.st_size else "the file is empty"


def read_json(path: Path) -> Any:
    """Return the values in a JSON file. Raises `FileNotFoundError`, or `ValueError` if it is not JSON."""
    if problem := what_is_wrong(path):
        raise ValueError(f"{path}: not readable as JSON: {problem}")
    return parse_json(path.read_bytes(), path)


def parse_json(text: bytes, name: object) -> Any:
    """Parse the contents of the JSON file `name`. Raises `ValueError`."""
    try:
        return json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: not readable as JSON: {error}") from None


def with_checksum(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with their CRC-32, which does not depend on spaces and the order of keys."""
    return {**values, KEY: _crc32(values)}


def check_checksum(values: Mapping[str, Any], name: object) -> None:
    """Raise `ValueError` if values of the file `name` contain a checksum that is not theirs."""
    if KEY in values and values[KEY] != _crc32({key: value for key, value in values.items() if key != KEY}):
        raise ValueError(
            f"{name}: the file is damaged: its contents do not have the CRC-32 {values[KEY]!r} that they were "
            f"written with; if you edited it, remove its entry {KEY!r}"
        )


def crc32_of(path: Path) -> str:
    """Return the CRC-32 of a file's bytes, in 8 hexadecimal digits."""
    checksum = 0
    with path.open("rb") as file:
        while data := file.read(1 << 24):
            checksum = zlib.crc32(data, checksum)
    return f"{checksum:08x}"


def _crc32(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x}"
