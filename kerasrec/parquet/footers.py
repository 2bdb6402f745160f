"""Footers of Parquet files with a checksum: the format has checksums for pages only.

A footer says what the pages mean and where they are, so from a damaged one other numbers are read, and some crash
Arrow. The format does not use the bytes between the last page and the footer: a mark and the CRC-32 of what
follows are written there. Other readers do not see them, and other writers do not write them."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import IO, TypeAlias

import pyarrow.parquet as pq

BinaryFile: TypeAlias = IO[bytes] | io.RawIOBase

_MAGIC, _MARK = b"PAR1", b"KRFC"
_END = 8  # bytes after the footer: its length, and the magic


def seal(path: Path) -> None:
    """Insert a checksum before the footer of a file that was just written."""
    with path.open("r+b") as file:
        start, footer, _ = _tail(file)
        file.seek(start)
        file.write(_MARK + zlib.crc32(footer).to_bytes(4, "little") + footer)


def read_footer(source: Path | BinaryFile) -> pq.FileMetaData:
    """Read the footer of a path or an open file, after comparing its checksum if it has one.

    Raises:
        ValueError: it is damaged. Arrow may raise other errors for a damaged footer without a checksum.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return read_footer(file)
    _, footer, before = _tail(source)
    if before[:4] == _MARK and int.from_bytes(before[4:], "little") != zlib.crc32(footer):
        raise ValueError("the file is damaged: the CRC-32 of its footer is not the one that it was written with")
    return pq.read_metadata(io.BytesIO(_MAGIC + footer))


def _tail(file: BinaryFile) -> tuple[int, bytes, bytes]:
    """Return the start of the footer, its bytes to the end of the file, and the 8 bytes before it."""
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
