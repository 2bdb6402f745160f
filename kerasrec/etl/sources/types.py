"""The dtypes of a schema as Polars types, and what they allow."""

from __future__ import annotations

from typing import Any

import polars as pl

from kerasrec.schema import Column, SchemaError

ROW = "__row__"  # a column of each row's number in its source, from 0
KEY = "key:"  # before the name of a key's column, in what keyed operators learn and store

_POLARS: dict[str, Any] = {
    "bool": pl.Boolean(),
    **{f"int{bits}": getattr(pl, f"Int{bits}")() for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": getattr(pl, f"UInt{bits}")() for bits in (8, 16, 32, 64)},
    "float32": pl.Float32(),
    "float64": pl.Float64(),
    "string": pl.String(),
    "datetime": pl.Datetime("us"),
}
_NAMES = {dtype: name for name, dtype in _POLARS.items()}


def key_column(name: str) -> str:
    """Return the name that a key's column has in what keyed operators learn and store."""
    return KEY + name


def check_name(name: Any) -> None:
    """Raise `SchemaError` for a name that Polars or the engine would misread."""
    if not isinstance(name, str) or not name:
        raise SchemaError(f"a column's name must be a non-empty string; got {name!r}; rename the column")
    if "\0" in name:
        raise SchemaError(f"column {name!r}: Arrow does not support a NUL character in a name; rename the column")
    if name == ROW:
        raise SchemaError(f"column {name!r}: the name is reserved for row numbers; rename the column")
    if name == "*" or (name.startswith("^") and name.endswith("$")):
        raise SchemaError(f"column {name!r}: Polars reads the name as a pattern; rename the column")


def is_readable(name: str) -> bool:
    """Return whether a column of that name can be read."""
    try:
        check_name(name)
    except SchemaError:
        return False
    return True


def to_polars(dtype: str) -> pl.DataType:
    """Return the Polars type of a schema's dtype."""
    return _POLARS[dtype]


def column_type(column: Column) -> pl.DataType:
    """Return the Polars type of a column: of its elements, or of lists of them."""
    element = to_polars(column.dtype)
    return pl.List(element) if column.is_list else element


def to_name(dtype: pl.DataType) -> str | None:
    """Return a schema's name of a Polars type; `None` where it has none."""
    return _NAMES.get(dtype)


def plain_type(dtype: Any) -> pl.DataType:
    """Return the Polars type that values of type `dtype` are read as."""
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return pl.String()
    if isinstance(dtype, pl.Decimal):
        return pl.Float64() if dtype.scale else pl.Int64()  # Snowflake writes integers as decimals
    if isinstance(dtype, pl.Date | pl.Datetime):
        return pl.Datetime("us")  # with a time zone: the same time in UTC
    return pl.Float32() if str(dtype) == "Float16" else dtype


def is_float(dtype: str) -> bool:
    """Return whether a schema's dtype is one of floats."""
    return dtype.startswith("float")


def is_integer(dtype: str) -> bool:
    """Return whether a schema's dtype is one of integers."""
    return dtype.startswith(("int", "uint"))


def float_of(column: Column, op: object) -> str:
    """Return the precision to compute `column` in: its own if it is a float, else float64.

    Raises:
        SchemaError: a column of strings or dates.
    """
    if column.dtype in ("string", "datetime"):
        remedy = "Categorify it" if column.dtype == "string" else "TimeFeatures makes numbers of dates"
        raise SchemaError(f"column {column.name!r} is {column.dtype}; {op} takes numbers: {remedy}")
    return column.dtype if is_float(column.dtype) else "float64"


def integer_range(dtype: str) -> tuple[int, int]:
    """Return the least and the greatest value of an integer type."""
    bits = int(dtype.lstrip("uint"))
    return (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def to_dtype(value: Any, column: Column, op: str) -> Any:
    """Convert `value` to the column's type. Raise `SchemaError` where it is not a value of that type."""
    dtype = column.dtype
    number = isinstance(value, int | float)
    if dtype == "string":
        fits = isinstance(value, str)
    elif dtype == "bool":
        fits = number and value in (0, 1)
    elif is_integer(dtype):
        low, high = integer_range(dtype)
        fits = number and low <= value <= high and int(value) == value
    else:
        fits = is_float(dtype) and number and value == value
    if not fits:
        raise SchemaError(f"column {column.name!r} is {dtype}, and {op}({value!r}) is not a value of that type")
    cast: Any = str if dtype == "string" else bool if dtype == "bool" else float if is_float(dtype) else int
    return cast(value)
