"""What is wrong with a file before it is read, and whether JSON is what was written."""

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
    """Why a path cannot be read as a file; None for a file with something in it. A named pipe would be waited on
    for ever. Raises `FileNotFoundError` and other errors of the system."""
    status = path.stat()
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        return f"it is {_KINDS.get(kind, 'something else')}, not a file"
    return None if status.st_size else "the file is empty"


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises `FileNotFoundError`, and `ValueError` naming any other file than JSON."""
    if wrong := what_is_wrong(path):
        raise ValueError(f"{path}: not readable as JSON: {wrong}")
    return parse_json(path.read_bytes(), path)


def parse_json(text: bytes, name: Any) -> Any:
    """`text`, which the file `name` holds, as JSON. Raises `ValueError`."""
    try:
        return json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: not readable as JSON: {error}") from None


def with_checksum(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same with a CRC-32 of what it says, whatever its spaces and the order of its keys."""
    return {**values, KEY: _crc32(values)}


def check_checksum(values: Mapping[str, Any], name: Any) -> None:
    """Raise `ValueError` where values of the file `name` have a checksum that is not theirs."""
    if KEY in values and values[KEY] != _crc32({key: value for key, value in values.items() if key != KEY}):
        raise ValueError(
            f"{name}: the file is damaged: its contents do not have the CRC-32 {values[KEY]!r} that they were "
            f"written with; if you edited it, remove its entry {KEY!r}"
        )


def crc32_of(path: Path) -> str:
    """The CRC-32 of a file's bytes, in 8 hexadecimal digits."""
    checksum = 0
    with path.open("rb") as file:
        while data := file.read(1 << 24):
            checksum = zlib.crc32(data, checksum)
    return f"{checksum:08x}"


def _crc32(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x}"
