"""Which types the columns of a CSV file have: inferred from its first rows, then checked over all rows."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from kerasrec.etl.sources.common_types import EXACT
from kerasrec.etl.sources.csv_file import CsvFile
from kerasrec.etl.sources.csv_types import NULL_MARKS, CsvType, parse_fields
from kerasrec.schema import SchemaError

INFER_ROWS = 10_000
_INTEGER = r"^[+-]?\d+$"
_INFERRED = (pl.Int64(), pl.Float64(), pl.Boolean())
_NOUNS = {"Float64": "a number", "Boolean": "true or false"}
_AS_TEXT = "correct it, or read the column as text: pass pl.scan_csv(..., schema_overrides={...: pl.String})"
_UTF8 = "convert the file to UTF-8, for example with iconv, or pass pl.read_csv(..., encoding=...)"


def infer_types(file: CsvFile) -> list[CsvType]:
    """Infer the types of all columns from the first rows of a file that has rows."""
    plain = file.infer(INFER_ROWS)
    texts = {at: pl.String() for at, dtype in enumerate(plain) if dtype not in _INFERRED}
    if not texts:
        return [CsvType(dtype) for dtype in plain]
    without_marks = file.infer(INFER_ROWS, NULL_MARKS)
    frame = file.read_as(texts).head(INFER_ROWS).select((~pl.all().is_in(NULL_MARKS)).any())
    has_values = dict(zip(texts, frame.collect(engine="streaming").row(0), strict=True))
    types = []
    for at, (dtype, other) in enumerate(zip(plain, without_marks, strict=True)):
        if at not in texts:
            types.append(CsvType(dtype))
        elif not has_values[at]:
            types.append(CsvType(pl.Null()))
        else:
            types.append(CsvType(other, as_text=True) if other in _INFERRED else CsvType(pl.String()))
    return types


def check_types(file: CsvFile, requested: Mapping[int, pl.DataType | None]) -> list[CsvType]:
    """Return the types of columns, by position, over all rows; results are kept in `file.checked`.

    Args:
        requested: the type that a column must have; None for whichever all its values have.

    Raises:
        SchemaError: a value of another type, or one that is not text; the message names its row.
    """
    for at, dtype in requested.items():  # a type found without a request may be the one requested now
        known = file.checked.get((at, None))
        if known is not None and known.dtype == dtype:
            file.checked[at, dtype] = known
    new = {at: dtype for at, dtype in requested.items() if (at, dtype) not in file.checked}
    if new:
        file.checked |= {(at, new[at]): csv_type for at, csv_type in _check(file, new).items()}
    return [file.checked[item] for item in requested.items()]


def _check(file: CsvFile, requested: Mapping[int, pl.DataType | None]) -> dict[int, CsvType]:
    types = {at: _as_requested(file.inferred[at], dtype) for at, dtype in requested.items()}
    for at, csv_type in types.items() if file.dialect.lossy else ():
        if csv_type.dtype == pl.String:
            _refuse(file, at, pl.col(str(at)).str.contains("\ufffd", literal=True), "not UTF-8", _UTF8)
    parsed_by_polars = {
        at: csv_type.dtype for at, csv_type in types.items() if csv_type.read_as not in (pl.String(), pl.Null())
    }
    doubtful = [
        at for at, csv_type in types.items() if csv_type.read_as != csv_type.dtype and at not in parsed_by_polars
    ]
    try:
        file.read_as(parsed_by_polars).select(pl.all().null_count()).collect(engine="streaming")
    except pl.exceptions.PolarsError:
        doubtful += parsed_by_polars
    for at in doubtful:
        types[at] = _examine(file, at, types[at].dtype, requested[at])
    return types


def _as_requested(inferred: CsvType, dtype: pl.DataType | None) -> CsvType:
    if dtype is None or (inferred.dtype == pl.Null and dtype == pl.String):
        return inferred
    is_number = dtype.is_numeric() or dtype == pl.Boolean
    return CsvType(dtype, as_text=is_number and (inferred.as_text or inferred.dtype in (pl.String, pl.Null)))


def _examine(file: CsvFile, at: int, inferred: pl.DataType, requested: pl.DataType | None) -> CsvType:
    """Return a column's type by all its values, read as text."""
    x = pl.col(str(at))
    is_value = ~x.is_in(NULL_MARKS)
    dtypes = [pl.Int64(), pl.UInt64(), pl.Float64(), pl.Boolean()]
    if requested is not None:  # 2.0 may stand for an integer: floats are compared by value later
        dtypes = [requested, pl.Float64()] if requested.is_integer() else [requested]
    misfits = {str(dtype): is_value & parse_fields(x, dtype, strict=False).is_null() for dtype in dtypes}
    sums = {name: misfit.sum() for name, misfit in misfits.items()}
    sums |= {"values": is_value.sum(), "not integers": (is_value & ~x.str.contains(_INTEGER)).sum()}
    count = file.read_as({at: pl.String()}).select(**sums).collect(engine="streaming").row(0, named=True)
    if not count["values"]:
        return CsvType(requested or pl.Null(), as_text=True)
    for dtype in dtypes:
        if count[str(dtype)]:
            continue
        if dtype == pl.Float64 and requested is None:
            if not count["not integers"]:  # integers of more than 64 bits are keys
                return CsvType(pl.String())
            large = is_value & (parse_fields(x, pl.Int128(), strict=False).abs() > EXACT)
            _refuse(file, at, large, "an integer among floats, which float64 cannot hold exactly")
        return CsvType(dtype, as_text=True)
    if inferred == pl.Null and requested is None:
        return CsvType(pl.String())
    expected = dtypes[-1] if requested is not None else pl.Float64() if inferred.is_numeric() else inferred
    noun = _NOUNS.get(str(expected), f"a value of {expected}")
    _refuse(file, at, misfits[str(expected)], f"which is not {noun}")
    raise AssertionError("a misfit was counted")


def _refuse(file: CsvFile, at: int, wrong: pl.Expr, problem: str, remedy: str = _AS_TEXT) -> None:
    """Raise `SchemaError` where a field, read as text, is `wrong`."""
    frame = file.read_as({at: pl.String()}).with_row_index("row").filter(wrong).head(1)
    first = frame.collect(engine="streaming")
    if len(first):
        row, value = first.row(0)
        place = f"{file.path}: row {row + 2}: column {file.names[at]!r}"  # the header is row 1
        raise SchemaError(f"{place} is {value[:200]!r}, {problem}; {remedy}")
