"""CSV files as one lazy frame, checked before anything is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.csv

from kerasrec.files.readable import what_is_wrong
from kerasrec.schema import SchemaError

INFER_ROWS = 10_000
Read = Callable[[Sequence[Path]], pl.LazyFrame]


def scan(files: Sequence[Path], types: Mapping[str, pl.DataType]) -> tuple[Read, list[int]]:
    """A function that makes a frame of the rows of some of `files`, and each file's number of rows. A field with
    nothing in it is null, `""` is ''.

    Types are guessed from each file's first rows, but for the columns in `types`; integers in one file and
    floats in another make floats.

    Raises:
        SchemaError: a file that is empty, a row with a wrong number of fields, or files whose columns differ.
    """
    separator = "\t" if files[0].suffix.lower() == ".tsv" else ","
    counts = [_count(file, separator) for file in files]
    found = [_types(file, separator, types) for file in files]
    schema = dict(found[0])
    for file, other in zip(files[1:], found[1:], strict=True):
        if list(other) != list(schema):
            raise SchemaError(f"{file}: its columns are {list(other)}, but those of {files[0]} are {list(schema)}")
        for name, dtype in other.items():
            if {dtype, schema[name]} == {pl.Int64(), pl.Float64()}:
                schema[name] = pl.Float64()
            elif dtype != schema[name]:
                raise SchemaError(
                    f"{file}: column {name!r} looks like {dtype}, but like {schema[name]} in {files[0]}; "
                    "pass pl.scan_csv(files, schema_overrides=...) to say which it is"
                )

    def read(files: Sequence[Path]) -> pl.LazyFrame:
        return pl.scan_csv(list(files), separator=separator, schema=schema, glob=False)

    return read, counts


def _types(file: Path, separator: str, types: Mapping[str, pl.DataType]) -> dict[str, pl.DataType]:
    """The columns of one file, guessed but for those in `types`."""
    scanned = pl.scan_csv(file, separator=separator, infer_schema_length=INFER_ROWS, glob=False)
    try:
        return {name: types.get(name, dtype) for name, dtype in scanned.collect_schema().items()}
    except pl.exceptions.PolarsError as error:
        raise SchemaError(f"{file}: not readable as CSV: {error}") from None


def _count(file: Path, separator: str) -> int:
    if wrong := what_is_wrong(file):
        raise SchemaError(f"{file}: {wrong}")
    status = file.stat()
    return _checked(file, separator, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _checked(file: Path, separator: str, changed: int, size: int) -> int:
    """The number of rows, all of which have as many fields as the header; looked at once as long as the file
    stays.

    Polars fills short rows with nulls and says nothing, so Arrow's parser, which counts, goes over them first.
    """
    bad: list[Any] = []

    def stop(row: Any) -> str:
        bad.append(row)
        return "error"

    def count(skip_empty: bool) -> int:
        parse = pa.csv.ParseOptions(
            delimiter=separator,
            newlines_in_values=True,
            ignore_empty_lines=skip_empty,
            invalid_row_handler=stop,
        )
        # One column is converted, as bytes, so that nothing but the number of fields can be wrong.
        convert = pa.csv.ConvertOptions(include_columns=names[:1], column_types={names[0]: pa.binary()})
        with pa.csv.open_csv(file, read_options=read, parse_options=parse, convert_options=convert) as batches:
            return sum(batch.num_rows for batch in batches)

    header, blank = _first_line_and_blanks(file)
    read = pa.csv.ReadOptions(use_threads=False, block_size=8 << 20)
    try:
        skip = pa.csv.ParseOptions(delimiter=separator, invalid_row_handler=lambda row: "skip")
        with pa.csv.open_csv(file, parse_options=skip) as first:
            names = first.schema.names
        rows = count(skip_empty=False)
        if blank and len(names) > 1 and count(skip_empty=True) != rows:
            raise SchemaError(f"{file}: there is a blank line among the rows, or after them")
        return rows
    except pa.ArrowInvalid as error:
        if not bad:
            raise SchemaError(f"{file}: not readable as CSV: {error}") from None
        row = bad[0]
        raise SchemaError(
            f"{file}: row {row.number}: expected {row.expected_columns} fields as in the header ({header}), "
            f"found {row.actual_columns}: {row.text}"
        ) from None


def _first_line_and_blanks(file: Path) -> tuple[str, bool]:
    """The header, and whether there may be a blank line: two line ends in a row, which quotes may hold too."""
    with file.open("rb") as lines:
        header, before = lines.readline(), b""
        while chunk := lines.read(8 << 20):
            text = before + chunk
            if b"\n\n" in text or b"\n\r\n" in text:
                return header.decode("utf-8", "replace").strip(), True
            before = text[-2:]
    return header.decode("utf-8", "replace").strip(), False
