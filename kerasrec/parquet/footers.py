"""Footers of Parquet files with a checksum: the format has one for pages alone.

A footer says what the pages mean and where they are, so a damaged one makes other numbers of the right pages, and
Arrow ends the whole process at some. The bytes between the last page and the footer are not used by the format: a
mark and the CRC-32 of what follows are put there. Other readers do not see them, and other writers have none.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

_MAGIC, _MARK = b"PAR1", b"KRFC"
_END = 8  # bytes after the footer: its length, and the magic


def seal(path: Path) -> None:
    """Put a checksum before the footer of a file that was just written."""
    with path.open("r+b") as file:
        start, footer, _ = _tail(file)
        file.seek(start)
        file.write(_MARK + zlib.crc32(footer).to_bytes(4, "little") + footer)


def read_footer(source: Path | Any) -> pq.FileMetaData:
    """Read a footer, of a path or an open file; its checksum is compared first where it has one.

    Raises:
        ValueError: it is damaged. What else Arrow raises is as varied as its bytes.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return read_footer(file)
    _, footer, before = _tail(source)
    if before[:4] == _MARK and int.from_bytes(before[4:], "little") != zlib.crc32(footer):
        raise ValueError("the file is damaged: its footer does not have the CRC-32 that it was written with")
    return pq.read_metadata(io.BytesIO(_MAGIC + footer))


def _tail(file: Any) -> tuple[int, bytes, bytes]:
    """Where the footer starts, it and what follows it, and the 8 bytes before it. Raises `ValueError`."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _END))
    end = file.read(_END)
    start = size - _END - int.from_bytes(end[:4], "little")
    if end[4:] != _MAGIC or start < 4:
        raise ValueError("Parquet magic bytes not found in footer: it is cut short, or not a Parquet file")
    file.seek(max(0, start - 8))
    tail = file.read(size - max(0, start - 8))
    footer = tail[start - size :]
    return start, footer, tail[: -len(footer)]
