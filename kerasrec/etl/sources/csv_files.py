"""CSV files: Arrow counts their rows and fields, Polars reads them."""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.csv

from kerasrec.etl.sources import csv_inference
from kerasrec.etl.sources.csv_dialect import Dialect, find_dialect
from kerasrec.etl.sources.csv_file import CsvFile, scan_columns
from kerasrec.etl.sources.csv_types import NULL, CsvType
from kerasrec.files.readable import what_is_wrong
from kerasrec.schema import SchemaError

BLOCKS = (8 << 20, 64 << 20, 1 << 30)  # bytes that Arrow parses at a time; a row must fit into one
_FIELDS = re.compile(r"CSV parse error: (?:Row #(\d+): )?Expected (\d+) columns, got (\d+): (.*)", re.DOTALL)


@dataclass(frozen=True)
class TypedCsv:
    """A `raw_columns.RawFile`: a CSV file, and the types of the columns where they are known.

    Args:
        known_types: types by column name.
    """

    file: CsvFile
    known_types: Mapping[str, pl.DataType]

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def rows(self) -> int:
        return self.file.rows

    @property
    def names(self) -> Collection[str]:
        return self.file.positions

    def types(self, names: Sequence[str]) -> dict[str, pl.DataType]:
        return {name: csv_type.dtype for name, csv_type in zip(names, self.csv_types(names), strict=True)}

    def read_key(self, names: Sequence[str]) -> Any:
        return self.file.names, self.file.dialect, self.file.has_null_fields, self.csv_types(names)

    def at(self, path: Path) -> TypedCsv:
        return replace(self, file=replace(self.file, path=path))

    def csv_types(self, names: Sequence[str]) -> list[CsvType]:
        """Return the types of some columns, checked over all rows."""
        requested = {}
        for name in names:
            positions = self.file.positions[name]
            if len(positions) > 1:
                raise SchemaError(f"{self.path}: {len(positions)} columns are named {name!r}; rename all but one")
            dtype = self.known_types.get(name)
            requested[positions[0]] = None if dtype is None or dtype.is_nested() else dtype
        if not self.rows:
            return [CsvType(dtype or pl.Null()) for dtype in requested.values()]
        return csv_inference.check_types(self.file, requested)


def scan(files: Sequence[Path], known_types: Mapping[str, pl.DataType]) -> list[TypedCsv]:
    """Look at files without keeping their rows.

    Raises:
        SchemaError: a file that is empty or in a form that cannot be read, a row with a wrong number of fields.
    """
    typed = []
    for path in files:
        if problem := what_is_wrong(path):
            raise SchemaError(f"{path}: {problem}")
        status = path.stat()
        typed.append(TypedCsv(_inspect(path, status.st_mtime_ns, status.st_size), known_types))
    return typed


def read(files: Sequence[TypedCsv], names: Sequence[str], types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """Read some columns of files with one `read_key`, in `types`. An empty field is null, `""` is ''."""
    positions = [files[0].file.positions[name][0] for name in names]
    csv_types = dict(zip(positions, files[0].csv_types(names), strict=True))
    frame = scan_columns([file.file for file in files], {at: known.read_as for at, known in csv_types.items()})
    return frame.select(
        csv_types[at].convert(pl.col(str(at)), types[name]).alias(name)
        for at, name in zip(positions, names, strict=True)
    )


@lru_cache(maxsize=4096)
def _inspect(path: Path, modified: int, size: int) -> CsvFile:
    """Pass over a file once; the result is kept until its time of modification or its size changes."""
    dialect, names = find_dialect(path)
    may_have_blank_lines, has_null_fields, lossy = _scan_bytes(path, dialect)
    dialect = replace(dialect, lossy=lossy)
    rows = _count(path, dialect, skip_empty=False)
    if may_have_blank_lines and len(names) > 1 and _count(path, dialect, skip_empty=True) != rows:
        raise SchemaError(f"{path}: there is a blank line among the rows, or after them; remove it")
    file = CsvFile(path, rows, names, dialect, has_null_fields)
    try:
        file.inferred = csv_inference.infer_types(file) if rows else [CsvType(pl.Null())] * len(names)
    except pl.exceptions.PolarsError as error:
        raise SchemaError(f"{path}: not readable as CSV: {error}; is a quote missing?") from None
    return file


def _count(path: Path, dialect: Dialect, *, skip_empty: bool) -> int:
    """Return the number of rows. Raise `SchemaError` where one has another number of fields than the header.

    Polars silently fills short rows with nulls, so Arrow's parser, which counts fields, goes over the rows first.
    It converts one column, to bytes, so that only the number of fields can be wrong.
    """
    parse = pa.csv.ParseOptions(
        delimiter=dialect.separator, newlines_in_values=True, ignore_empty_lines=skip_empty
    )
    convert = pa.csv.ConvertOptions(include_columns=["f0"], column_types={"f0": pa.binary()})
    for size in BLOCKS:
        read = pa.csv.ReadOptions(
            use_threads=False, block_size=size, autogenerate_column_names=True, skip_rows_after_names=1
        )
        try:
            with dialect.open(path) as stream, pa.csv.open_csv(stream, read, parse, convert) as batches:
                return sum(batch.num_rows for batch in batches)
        except pa.ArrowInvalid as error:
            if "cannot infer number of columns" in str(error):  # a header without a line end
                return 0
            if "straddl" not in str(error):
                raise _parse_error(path, dialect, error) from None
        except OSError as error:  # damaged within
            raise SchemaError(f"{path}: not readable as {dialect.compression or 'CSV'}: {error}") from None
    raise SchemaError(f"{path}: a row is longer than {BLOCKS[-1] >> 20} MiB; is a quote missing?")


def _parse_error(path: Path, dialect: Dialect, error: Exception) -> SchemaError:
    match = _FIELDS.search(str(error))
    if match is None:
        return SchemaError(f"{path}: not readable as CSV: {error}")
    row, expected, actual, text = match.groups()
    with dialect.open(path) as stream:
        header = stream.read(1 << 16).decode("utf-8", "replace").lstrip("\ufeff").splitlines()[0].strip()
    return SchemaError(
        f"{path}: row {row or '?'}: expected {expected} fields as in the header ({header[:200]}), "
        f"found {actual}: {text[:200]}"
    )


def _scan_bytes(path: Path, dialect: Dialect) -> tuple[bool, bool, bool]:
    """Return whether there may be a blank line (two line ends in a row, perhaps within quotes), whether there may
    be fields `\\N`, and whether there are bytes that are not UTF-8."""
    may_have_blank_lines = has_null_fields = lossy = False
    decoder = codecs.getincrementaldecoder("utf-8")()
    with dialect.open(path) as stream:
        last_bytes = b""
        while chunk := stream.read(8 << 20):
            text = last_bytes + chunk
            # A single byte is found thirty times as fast as two.
            may_have_blank_lines = may_have_blank_lines or b"\n\n" in text or (b"\r" in text and b"\n\r\n" in text)
            has_null_fields = has_null_fields or (b"\\" in text and NULL.encode() in text)
            last_bytes = text[-2:]
            try:
                lossy or decoder.decode(chunk)
            except UnicodeDecodeError:
                lossy = True
    return may_have_blank_lines, has_null_fields, lossy
