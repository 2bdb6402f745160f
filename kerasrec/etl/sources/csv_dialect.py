"""How a CSV file is written: compressed or not, in which encoding, with which separator."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa

from kerasrec.schema import SchemaError

HEAD = 1 << 20  # bytes that are looked at
SEPARATORS = (",", ";", "\t", "|")
_NAMES = {"\t": "tab"}
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"PAR1": "Parquet"}


@dataclass(frozen=True)
class Dialect:
    """How a file is written.

    Args:
        separator: between fields.
        compression: "gzip", "zstd" or `None`.
        utf16: whether it is UTF-16, as its first bytes say; else UTF-8.
        lossy: whether there are bytes that are not UTF-8, where text is read with U+FFFD in their place.
    """

    separator: str
    compression: str | None
    utf16: bool
    lossy: bool

    def open(self, path: Path) -> pa.NativeFile:
        """The text in UTF-8. No part of it is Python's, which Arrow's threads could call when Python has ended."""
        if self.utf16:
            return pa.BufferReader(self.source(path))
        return pa.input_stream(str(path), compression=self.compression)

    def source(self, path: Path) -> Path | bytes:
        """The file as Polars takes it, which decompresses by itself; all of it in memory where it is UTF-16."""
        if not self.utf16:
            return path
        with pa.input_stream(str(path), compression=self.compression) as stream:
            try:
                return stream.read().decode("utf-16").encode()
            except UnicodeDecodeError as error:
                raise SchemaError(f"{path}: not readable as UTF-16: {error}") from None


def find_dialect(path: Path) -> tuple[Dialect, list[str]]:
    """Look at the start of a file; returns the fields of its first record as well.

    Raises:
        SchemaError: an empty file, or one in a form that is not read.
    """
    with path.open("rb") as file:
        start = file.read(8)
    compression = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), None)
    if other := next((name for magic, name in _OTHERS.items() if start.startswith(magic)), None):
        raise SchemaError(f"{path}: this is {other}, not CSV; pass plain, gzip or zstd CSV")
    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            head = stream.read(HEAD)
    except OSError as error:
        raise SchemaError(f"{path}: not readable as {compression}: {error}") from None
    utf16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text, lossy = _decoded(head, "utf-16" if utf16 else "utf-8-sig")
    if not text.strip():
        raise SchemaError(f"{path}: the file is empty")
    if "\0" in text[:4096]:
        raise SchemaError(f"{path}: there are bytes of 0 in the first line; convert the file to UTF-8")
    if "\r" in text and "\n" not in text:
        raise SchemaError(f"{path}: lines end in carriage returns alone; convert them to newlines")
    separator = _separator(text, "\t" if ".tsv" in path.name.lower() else ",")
    return Dialect(separator, compression, utf16, lossy), _records(text, separator, 1)[0]


def _decoded(head: bytes, encoding: str) -> tuple[str, bool]:
    """The text of a file's start, and whether some bytes are not text."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(head), False
    except UnicodeDecodeError:
        return codecs.getincrementaldecoder(encoding)("replace").decode(head), True


def _separator(text: str, usual: str) -> str:
    """The usual one, unless the header does not have it and has another one, as most rows after it do."""
    if len(_records(text, usual, 1)[0]) > 1:
        return usual
    others = []
    for other in SEPARATORS:
        header, *rows = map(len, _records(text, other, 100))
        if other != usual and header > 1 and sum(row == header for row in rows) * 2 >= len(rows):
            others.append(other)
    return others[0] if len(others) == 1 else usual


def _records(text: str, separator: str, most: int) -> Sequence[list[str]]:
    records = []
    try:
        for record in islice(csv.reader(io.StringIO(text, newline=""), delimiter=separator), most):
            records.append(record)
    except csv.Error:  # a field of more than 128 KiB: what comes before it tells
        pass
    return records or [[text]]
