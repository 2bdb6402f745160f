"""CSV files: looked at by their first rows, counted by Arrow, read by Polars."""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.csv

from kerasrec.etl.sources import csv_types
from kerasrec.etl.sources.csv_dialect import Dialect, find_dialect
from kerasrec.etl.sources.csv_types import NULL, Guess
from kerasrec.files.readable import what_is_wrong
from kerasrec.schema import SchemaError

BLOCKS = (8 << 20, 64 << 20, 1 << 30)  # bytes that Arrow parses at a time; a row must fit
_FIELDS = re.compile(r"CSV parse error: (?:Row #(\d+): )?Expected (\d+) columns, got (\d+): (.*)", re.DOTALL)


@dataclass(eq=False)
class CsvFile:
    """What a file is, found by looking at all of it once.

    Args:
        rows: how many, without the header.
        names: the header's fields.
        marked: whether there may be fields `\\N`.
        guesses: what the columns look like in the first rows.
        checked: what they are over all rows, by position and the type wanted.
    """

    path: Path
    rows: int
    names: Sequence[str]
    dialect: Dialect
    marked: bool
    guesses: Sequence[Guess] = ()
    checked: dict[tuple[int, pl.DataType | None], Guess] = field(default_factory=dict)

    @cached_property
    def places(self) -> dict[str, list[int]]:
        """Where the columns of a name are."""
        places: dict[str, list[int]] = {}
        for at, name in enumerate(self.names):
            places.setdefault(name, []).append(at)
        return places

    def read_as(self, types: Mapping[int, pl.DataType]) -> pl.LazyFrame:
        """Columns by their positions, named so: a header's names may be anything."""
        return _scan([self], types)

    def inferred(self, rows: int, nulls: Sequence[str] = (NULL,)) -> list[pl.DataType]:
        """The types that Polars guesses of the first rows."""
        frame = pl.scan_csv(
            self.dialect.source(self.path),
            separator=self.dialect.separator,
            has_header=False,
            skip_rows=1,
            infer_schema_length=rows,
            null_values=list(nulls),
            encoding="utf8-lossy",
            glob=False,
        )
        return frame.collect_schema().dtypes()

    def check(self, wanted: Mapping[int, pl.DataType | None]) -> list[Guess]:
        for at, kind in wanted.items():  # what was found without wishes may be what is wished for now
            found = self.checked.get((at, None))
            if found is not None and found.dtype == kind:
                self.checked[at, kind] = found
        new = {at: kind for at, kind in wanted.items() if (at, kind) not in self.checked}
        if new:
            self.checked |= {(at, new[at]): guess for at, guess in csv_types.check(self, new).items()}
        return [self.checked[item] for item in wanted.items()]


@dataclass(frozen=True)
class TypedCsv:
    """A `columns.RawFile`: a file, and types of columns that are known.

    Args:
        given: types by names.
    """

    file: CsvFile
    given: Mapping[str, pl.DataType]

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def rows(self) -> int:
        return self.file.rows

    @property
    def names(self) -> Collection[str]:
        return self.file.places

    def types(self, names: Sequence[str]) -> dict[str, pl.DataType]:
        guesses = self.guesses(names)
        return {name: guess.dtype for name, guess in zip(names, guesses, strict=True)}

    def spelling(self, names: Sequence[str]) -> Any:
        return self.file.names, self.file.dialect, self.file.marked, self.guesses(names)

    def at(self, path: Path) -> TypedCsv:
        return replace(self, file=replace(self.file, path=path))

    def guesses(self, names: Sequence[str]) -> list[Guess]:
        wanted = {}
        for name in names:
            places = self.file.places[name]
            if len(places) > 1:
                raise SchemaError(f"{self.path}: {len(places)} columns are named {name!r}")
            kind = self.given.get(name)
            wanted[places[0]] = None if kind is None or kind.is_nested() else kind
        if not self.rows:
            return [Guess(kind or pl.Null()) for kind in wanted.values()]
        return self.file.check(wanted)


def scan(files: Sequence[Path], given: Mapping[str, pl.DataType]) -> list[TypedCsv]:
    """Look at files.

    Raises:
        SchemaError: a file that is empty or in a form that is not read, a row with a wrong number of fields.
    """
    typed = []
    for path in files:
        if wrong := what_is_wrong(path):
            raise SchemaError(f"{path}: {wrong}")
        status = path.stat()
        typed.append(TypedCsv(_looked_at(path, status.st_mtime_ns, status.st_size), given))
    return typed


def read(files: Sequence[TypedCsv], names: Sequence[str], types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """Read some columns of files of one spelling, in `types`. A field with nothing in it is null, `""` is ''."""
    places = [files[0].file.places[name][0] for name in names]
    guesses = dict(zip(places, files[0].guesses(names), strict=True))
    frame = _scan([file.file for file in files], {at: guess.read_as for at, guess in guesses.items()})
    return frame.select(
        guesses[at].parsed(pl.col(str(at)), types[name]).alias(name)
        for at, name in zip(places, names, strict=True)
    )


def _scan(files: Sequence[CsvFile], types: Mapping[int, pl.DataType]) -> pl.LazyFrame:
    first = files[0]
    return pl.scan_csv(
        [first.dialect.source(file.path) for file in files],  # type: ignore[arg-type]
        separator=first.dialect.separator,
        has_header=False,
        skip_rows=1,
        schema={str(at): types.get(at, pl.String()) for at in range(len(first.names))},
        null_values=[NULL] if first.marked else None,
        encoding="utf8-lossy" if first.dialect.lossy else "utf8",
        glob=False,
    ).select(pl.col(str(at)) for at in types)


@lru_cache(maxsize=4096)
def _looked_at(path: Path, changed: int, size: int) -> CsvFile:
    """Looked at once as long as the file stays."""
    dialect, names = find_dialect(path)
    blank, marked, lossy = _contents(path, dialect)
    dialect = replace(dialect, lossy=lossy)
    rows = _count(path, dialect, skip_empty=False)
    if blank and len(names) > 1 and _count(path, dialect, skip_empty=True) != rows:
        raise SchemaError(f"{path}: there is a blank line among the rows, or after them")
    file = CsvFile(path, rows, names, dialect, marked)
    try:
        file.guesses = csv_types.guess(file) if rows else [Guess(pl.Null())] * len(names)
    except pl.exceptions.PolarsError as error:
        raise SchemaError(f"{path}: not readable as CSV: {error}; is a quote missing?") from None
    return file


def _count(path: Path, dialect: Dialect, *, skip_empty: bool) -> int:
    """The number of rows, all of which have as many fields as the header.

    Polars fills short rows with nulls and says nothing, so Arrow's parser, which counts, goes over them first. One
    column is converted, as bytes, so that nothing but the number of fields can be wrong.
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
                raise _explained(path, dialect, error) from None
        except OSError as error:  # damaged within
            raise SchemaError(f"{path}: not readable as {dialect.compression or 'CSV'}: {error}") from None
    raise SchemaError(f"{path}: a row is longer than {BLOCKS[-1] >> 20} MiB; is a quote missing?")


def _explained(path: Path, dialect: Dialect, error: Exception) -> SchemaError:
    found = _FIELDS.search(str(error))
    if found is None:
        return SchemaError(f"{path}: not readable as CSV: {error}")
    row, expected, there, text = found.groups()
    with dialect.open(path) as stream:
        header = stream.read(1 << 16).decode("utf-8", "replace").lstrip("\ufeff").splitlines()[0].strip()
    return SchemaError(
        f"{path}: row {row or '?'}: expected {expected} fields as in the header ({header[:200]}), "
        f"found {there}: {text[:200]}"
    )


def _contents(path: Path, dialect: Dialect) -> tuple[bool, bool, bool]:
    """Whether there may be a blank line, which is two line ends in a row, though quotes may hold them; whether
    there may be fields `\\N`; and whether there are bytes that are not UTF-8."""
    blank = marked = lossy = False
    decoder = codecs.getincrementaldecoder("utf-8")()
    with dialect.open(path) as stream:
        before = b""
        while chunk := stream.read(8 << 20):
            text = before + chunk
            # A single byte is found thirty times as fast as two.
            blank = blank or b"\n\n" in text or (b"\r" in text and b"\n\r\n" in text)
            marked = marked or (b"\\" in text and NULL.encode() in text)
            before = text[-2:]
            try:
                lossy or decoder.decode(chunk)
            except UnicodeDecodeError:
                lossy = True
    return blank, marked, lossy
