"""The dialect of a CSV file: its compression, encoding and separator."""

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

HEAD = 1 << 20  # bytes that are inspected
SEPARATORS = (",", ";", "\t", "|")
_NAMES = {"\t": "tab"}
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"PAR1": "Parquet"}


@dataclass(frozen=True)
class Dialect:
    """The compression, encoding and separator of a file.

    Args:
        separator: between fields.
        compression: "gzip", "zstd" or `None`.
        utf16: whether its first bytes mark it as UTF-16; otherwise it is UTF-8.
        lossy: whether some bytes are not UTF-8; U+FFFD is read in their place.
    """

    separator: str
    compression: str | None
    utf16: bool
    lossy: bool

    def open(self, path: Path) -> pa.NativeFile:
        """Open the text in UTF-8, as a stream of Arrow's own: its threads may still read when Python has
        exited."""
        if self.utf16:
            return pa.BufferReader(self.source(path))
        return pa.input_stream(str(path), compression=self.compression)

    def source(self, path: Path) -> Path | bytes:
        """Return what Polars reads: the path (it decompresses by itself), or for UTF-16 the whole text in
        UTF-8."""
        if not self.utf16:
            return path
        with pa.input_stream(str(path), compression=self.compression) as stream:
            try:
                return stream.read().decode("utf-16").encode()
            except UnicodeDecodeError as error:
                raise SchemaError(f"{path}: not readable as UTF-16: {error}") from None


def find_dialect(path: Path) -> tuple[Dialect, list[str]]:
    """Find the dialect by the start of a file; return it with the fields of the first record.

    Raises:
        SchemaError: an empty file, or one in a form that cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(8)
    compression = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), None)
    if other := next((name for magic, name in _OTHERS.items() if start.startswith(magic)), None):
        raise SchemaError(
            f"{path}: this is a {other} file; pass CSV that is plain or compressed with gzip or zstd"
        )
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
        raise SchemaError(f"{path}: there are NUL bytes in the first 4096 characters; convert the file to UTF-8")
    if "\r" in text and "\n" not in text:
        raise SchemaError(f"{path}: lines end in carriage returns only; convert them to newlines")
    separator = _separator(text, "\t" if ".tsv" in path.name.lower() else ",")
    return Dialect(separator, compression, utf16, lossy), _records(text, separator, 1)[0]


def _decoded(head: bytes, encoding: str) -> tuple[str, bool]:
    """Return the text of a file's start, and whether some bytes could not be decoded."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(head), False
    except UnicodeDecodeError:
        return codecs.getincrementaldecoder(encoding)("replace").decode(head), True


def _separator(text: str, usual: str) -> str:
    """Return the usual separator, or another one where only that splits the header and most rows alike."""
    if len(_records(text, usual, 1)[0]) > 1:
        return usual
    candidates = []
    for other in SEPARATORS:
        header, *rows = map(len, _records(text, other, 100))
        if other != usual and header > 1 and sum(row == header for row in rows) * 2 >= len(rows):
            candidates.append(other)
    return candidates[0] if len(candidates) == 1 else usual


def _records(text: str, separator: str, limit: int) -> Sequence[list[str]]:
    """Return the fields of the first records."""
    records = []
    try:
        for record in islice(csv.reader(io.StringIO(text, newline=""), delimiter=separator), limit):
            records.append(record)
    except csv.Error:  # a field of more than 128 KiB: the records before it must do
        pass
    return records or [[text]]
