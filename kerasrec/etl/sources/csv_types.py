"""The type of a CSV column, and how its fields become values of that type."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

NULL = "\\N"  # how MySQL and Hive write a null, in columns of text too
# Further spellings of null in columns of numbers and booleans; in a column of text they are text.
NULL_MARKS = (
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


@dataclass(frozen=True)
class CsvType:
    """The type of a column's fields.

    Args:
        dtype: Int64, UInt64, Float64, Boolean or String; Null for a column of empty fields and `NULL_MARKS` only.
        as_text: whether the fields are read as text, because some of them are `NULL_MARKS`.
    """

    dtype: pl.DataType
    as_text: bool = False

    @property
    def read_as(self) -> pl.DataType:
        """The type that Polars reads the fields as."""
        return pl.String() if self.as_text or self.dtype == pl.Null else self.dtype

    def convert(self, fields: pl.Expr, dtype: pl.DataType) -> pl.Expr:
        """Convert fields, read as `read_as`, to a type that holds all their values."""
        if dtype == pl.Null:
            # Of as many rows as there are fields: a frame of literals alone has one row.
            return pl.when(fields.is_null()).then(None).otherwise(None)
        if self.read_as != self.dtype and dtype != pl.String:
            fields = parse_fields(fields, dtype if self.dtype == pl.Null else self.dtype)
        if self.dtype == dtype or dtype == pl.String:
            return fields
        return (fields.fill_nan(None) if self.dtype.is_float() else fields).cast(dtype)


def parse_fields(text: pl.Expr, dtype: pl.DataType, *, strict: bool = True) -> pl.Expr:
    """Convert text to values of a type, `NULL_MARKS` to nulls; without `strict`, all other text to nulls."""
    text = pl.when(text.is_in(NULL_MARKS)).then(None).otherwise(text)
    if dtype == pl.Boolean:
        return text.str.to_lowercase().replace_strict(_BOOLEANS, default=None, return_dtype=pl.Boolean())
    return text.cast(dtype, strict=strict)
