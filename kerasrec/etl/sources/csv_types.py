"""What the fields of CSV columns are: integers, floats, booleans or text, over all rows of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from kerasrec.etl.sources.common_types import EXACT
from kerasrec.schema import SchemaError

if TYPE_CHECKING:
    from kerasrec.etl.sources.csv_files import CsvFile

INFER_ROWS = 10_000
NULL = "\\N"  # as MySQL and Hive write it, in columns of text as well
# What else is null beside numbers and booleans; in text it is text.
MARKS = (
    NULL,
    "",
    "NA",
    "N/A",
    "n/a",
    "#N/A",
    "<NA>",
    "NULL",
    "null",
    "NaN",
    "-NaN",
    "nan",
    "-nan",
    "None",
    "none",
)
_BOOLEANS = {"true": True, "false": False}
_INTEGER = r"^[+-]?\d+$"
_GUESSED = (pl.Int64(), pl.Float64(), pl.Boolean())


@dataclass(frozen=True)
class Guess:
    """What a column's fields are.

    Args:
        dtype: Int64, UInt64, Float64, Boolean, String; Null where there are none but empty ones and `MARKS`.
        as_text: whether they are read as text, because some of them are `MARKS`.
    """

    dtype: pl.DataType
    as_text: bool = False

    @property
    def read_as(self) -> pl.DataType:
        return pl.String() if self.as_text or self.dtype == pl.Null else self.dtype

    def parsed(self, x: pl.Expr, wanted: pl.DataType) -> pl.Expr:
        """A column that was read so, in a type that holds all its values."""
        if wanted == pl.Null:
            return pl.lit(None)
        if self.read_as != self.dtype:
            x = x if wanted == pl.String else parsed(x, wanted if self.dtype == pl.Null else self.dtype)
        if self.dtype == wanted or wanted == pl.String:
            return x
        return (x.fill_nan(None) if self.dtype.is_float() else x).cast(wanted)


def parsed(x: pl.Expr, kind: pl.DataType, *, strict: bool = True) -> pl.Expr:
    """Fields as values of a type, `MARKS` as nulls."""
    x = pl.when(x.is_in(MARKS)).then(None).otherwise(x)
    if kind == pl.Boolean:
        return x.str.to_lowercase().replace_strict(_BOOLEANS, default=None, return_dtype=pl.Boolean())
    return x.cast(kind, strict=strict)


def guess(file: CsvFile) -> list[Guess]:
    """What columns look like in the first rows of a file that has rows."""
    plain = file.inferred(INFER_ROWS)
    texts = {at: pl.String() for at, kind in enumerate(plain) if kind not in _GUESSED}
    if not texts:
        return [Guess(kind) for kind in plain]
    marked = file.inferred(INFER_ROWS, MARKS)
    frame = file.read_as(texts).head(INFER_ROWS).select((~pl.all().is_in(MARKS)).any())
    has_values = dict(zip(texts, frame.collect(engine="streaming").row(0), strict=True))
    guesses = []
    for at, (kind, other) in enumerate(zip(plain, marked, strict=True)):
        if at not in texts:
            guesses.append(Guess(kind))
        elif not has_values[at]:
            guesses.append(Guess(pl.Null()))
        else:
            guesses.append(Guess(other, as_text=True) if other in _GUESSED else Guess(pl.String()))
    return guesses


def check(file: CsvFile, wanted: Mapping[int, pl.DataType | None]) -> dict[int, Guess]:
    """What columns are over all rows: of the types `wanted`, or, for `None`, of one that all their values have.

    Raises:
        SchemaError: a value of another type, or one that is not text; the message names its row.
    """
    guesses = {at: _of_type(file.guesses[at], kind) for at, kind in wanted.items()}
    for at, one in guesses.items() if file.dialect.lossy else ():
        if one.dtype == pl.String:
            _refuse(file, at, pl.col(str(at)).str.contains("\ufffd", literal=True), "not UTF-8", _UTF8)
    sure = {at: one.dtype for at, one in guesses.items() if one.read_as not in (pl.String(), pl.Null())}
    doubtful = [at for at, one in guesses.items() if one.read_as != one.dtype and at not in sure]
    try:
        file.read_as(sure).select(pl.all().null_count()).collect(engine="streaming")
    except pl.exceptions.PolarsError:
        doubtful += sure
    for at in doubtful:
        guesses[at] = _examined(file, at, guesses[at].dtype, wanted[at])
    return guesses


def _of_type(guess: Guess, kind: pl.DataType | None) -> Guess:
    if kind is None or (guess.dtype == pl.Null and kind == pl.String):
        return guess
    numbers = kind.is_numeric() or kind == pl.Boolean
    return Guess(kind, as_text=numbers and (guess.as_text or guess.dtype in (pl.String, pl.Null)))


def _examined(file: CsvFile, at: int, guessed: pl.DataType, wanted: pl.DataType | None) -> Guess:
    """What a column is by all its values, read as text."""
    x = pl.col(str(at))
    is_value = ~x.is_in(MARKS)
    kinds = [pl.Int64(), pl.UInt64(), pl.Float64(), pl.Boolean()]
    if wanted is not None:  # 2.0 may be an integer: floats go by their values later
        kinds = [wanted, pl.Float64()] if wanted.is_integer() else [wanted]
    misfits = {str(kind): is_value & parsed(x, kind, strict=False).is_null() for kind in kinds}
    sums = {name: bad.sum() for name, bad in misfits.items()}
    sums |= {"values": is_value.sum(), "others": (is_value & ~x.str.contains(_INTEGER)).sum()}
    count = file.read_as({at: pl.String()}).select(**sums).collect(engine="streaming").row(0, named=True)
    if not count["values"]:
        return Guess(wanted or pl.Null(), as_text=True)
    for kind in kinds:
        if count[str(kind)]:
            continue
        if kind == pl.Float64 and wanted is None:
            if not count["others"]:  # integers of more than 64 bits: keys
                return Guess(pl.String())
            large = is_value & (parsed(x, pl.Int128(), strict=False).abs() > EXACT)
            _refuse(file, at, large, "an integer among floats, which float64 does not hold exactly")
        return Guess(kind, as_text=True)
    if guessed == pl.Null and wanted is None:
        return Guess(pl.String())
    kind = kinds[-1] if wanted is not None else pl.Float64() if guessed.is_numeric() else guessed
    _refuse(file, at, misfits[str(kind)], f"which is not {_WORDS.get(str(kind), f'a value of {kind}')}")
    raise AssertionError("a misfit was counted")


_WORDS = {"Float64": "a number", "Boolean": "true or false"}
_AS_TEXT = "correct it, or read the column as text: pass pl.scan_csv(..., schema_overrides={...: pl.String})"
_UTF8 = "convert the file to UTF-8, as iconv does, or pass pl.read_csv(..., encoding=...)"


def _refuse(file: CsvFile, at: int, wrong: pl.Expr, words: str, remedy: str = _AS_TEXT) -> None:
    """Raise `SchemaError` where a field, read as text, is `wrong`."""
    frame = file.read_as({at: pl.String()}).with_row_index("row").filter(wrong).head(1)
    found = frame.collect(engine="streaming")
    if len(found):
        row, value = found.row(0)
        place = f"{file.path}: row {row + 2}: column {file.names[at]!r}"  # the header is row 1
        raise SchemaError(f"{place} is {value[:200]!r}, {words}; {remedy}")
