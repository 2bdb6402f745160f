"""What a column must satisfy to be what its schema says; each error names the file or frame and the column.

It is checked twice: from a file's footer before anything is read, and on decoded values for what the footer leaves
open.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from kerasrec.data.files.discovery import Place
from kerasrec.schema import Column, Schema, SchemaError, Tag

Array: TypeAlias = Any  # of NumPy, or of a device's array module
Number: TypeAlias = Any  # a number of Python, or a scalar of an array module


def is_list(kind: pa.DataType) -> bool:
    types = pa.types
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return lists or types.is_list_view(kind) or types.is_large_list_view(kind)


def element_type(kind: pa.DataType) -> pa.DataType:
    """Return the Arrow type of values, or of the elements of lists; that of its categories for a dictionary."""
    if is_list(kind):
        kind = kind.value_type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def dtype_name(kind: pa.DataType) -> str:
    """Return NumPy's name of an Arrow type (of a list, of its elements), or Arrow's if NumPy has none."""
    kind = element_type(kind)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "string"
    return {"halffloat": "float16", "float": "float32", "double": "float64"}.get(str(kind), str(kind))


def check_loadable(schema: Schema) -> None:
    """Raise `SchemaError` if batches of numbers cannot be made of these columns."""
    for column in schema:
        if column.dtype in ("string", "datetime"):
            kind = "strings" if column.dtype == "string" else "dates"
            raise SchemaError(
                f"column {column.name!r} contains {kind}, which cannot be inputs of a model: "
                f"{_advice(column.dtype)}, or leave it out with columns="
            )
    for target in schema.targets:
        if target.is_list:
            raise SchemaError(f"target {target.name!r} is a list column; a target is one number per row")


def _advice(kind: str) -> str:
    """Return what to do with a column of a type that no tensor has, by the type's name; "" for numbers."""
    if kind.startswith(("string", "large_string", "binary", "large_binary", "dictionary")):
        return "encode it with etl.Categorify"
    if kind.startswith(("date", "timestamp", "time")):
        return "make numbers of it with etl.TimeFeatures"
    if kind.startswith(("decimal", "duration")):
        return "cast it to a float or an integer before it is written"
    return ""


# ---- from a footer --------------------------------------------------------------------------------------------
def check_type(column: Column, fields: pa.Schema, path: Place) -> None:
    """Raise `SchemaError` unless the data has the column, of a type that may fit the schema's dtype."""
    indices = fields.get_all_field_indices(column.name)
    if len(indices) != 1:
        problem = f"{len(indices)} columns" if indices else "no column"
        raise SchemaError(
            f"{path}: {problem} {column.name!r}; expected one, as in the schema; "
            f"available: {_shortened(fields.names)}"
        )
    kind = fields.field(indices[0]).type
    if pa.types.is_null(kind) or (is_list(kind) == column.is_list and _fits(element_type(kind), column.dtype)):
        return
    expected, actual = (
        f"{'list of ' if listed else ''}{dtype}"
        for listed, dtype in ((column.is_list, column.dtype), (is_list(kind), dtype_name(kind)))
    )
    advice = f"; {advice}" if (advice := _advice(dtype_name(kind))) else ""
    raise SchemaError(f"{path}: column {column.name!r} is {actual}, but {expected} in the schema{advice}")


def _fits(kind: pa.DataType, dtype: str) -> bool:
    """Return whether values of an Arrow type may be values of a schema's dtype; `exact` then checks each."""
    if pa.types.is_null(kind) or dtype_name(kind) == dtype:
        return True
    integers = pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0)
    if dtype.startswith("float"):
        return integers or pa.types.is_floating(kind)
    return integers and dtype.startswith(("int", "uint"))


def _shortened(names: Iterable[str], most: int = 12) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# ---- of values ------------------------------------------------------------------------------------------------
def check_range(column: Column, low: Number, high: Number, path: Place) -> None:
    """Raise `ValueError` if integers from `low` to `high` do not fit the column's integer dtype."""
    if _is_float32(column) or not column.dtype.startswith(("int", "uint")):
        return
    limits = np.iinfo(column.dtype)
    if not limits.min <= low <= high <= limits.max:
        raise _inexact(column, high if low >= limits.min else low, path)


def exact(column: Column, values: Array, path: Place) -> Array:
    """Convert values of another type to the column's dtype.

    Targets and weights are left as they are: they become float32 whatever they are.

    Raises:
        ValueError: a value that the dtype cannot represent exactly.
    """
    dtype = np.dtype(column.dtype)
    if values.dtype == dtype or _is_float32(column):
        return values
    if not len(values):
        return values.astype(dtype)
    if dtype.kind in "iu":
        check_range(column, int(values.min()), int(values.max()), path)
        return values.astype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = values.astype(dtype)
        changed = (cast.astype(values.dtype) != values) & (values == values)
    if changed.any():
        raise _inexact(column, values[changed][0], path)
    return cast


def _is_float32(column: Column) -> bool:
    """Return whether batches have the column in float32 whatever its dtype is."""
    return bool({Tag.TARGET, Tag.WEIGHT} & set(column.tags))


def _inexact(column: Column, value: Number, path: Place) -> ValueError:
    return ValueError(
        f"{path}: column {column.name!r}: {value} cannot be represented exactly in {column.dtype}, its dtype in "
        "the schema; cast the column, or change the schema"
    )


def check_nulls(column: Column, nulls: int, path: Place) -> None:
    """Raise `ValueError` for nulls, which a tensor cannot represent."""
    if nulls:
        count = f"{nulls:,} null{'' if nulls == 1 else 's'}"
        unknown = f", and let rows whose target is unknown weigh 0, with sample_weight={{{column.name!r}: ...}}"
        raise ValueError(
            f"{path}: column {column.name!r} has {count}; fill them first, as etl.FillMissing and "
            f"etl.Categorify do{unknown if Tag.TARGET in column.tags else ''}"
        )


def check_ids(column: Column, low: Number, high: Number, path: Place) -> None:
    """Raise `ValueError` unless ids from `low` to `high` are in [0, cardinality)."""
    size = column.cardinality
    if size is not None and not 0 <= low <= high < size:
        raise ValueError(
            f"{path}: column {column.name!r}: id {low if low < 0 else high} is out of range [0, {size:,}) "
            "(cardinality in the schema)"
        )


def check_nan(column: Column, low: Number, path: Place) -> None:
    """Raise `ValueError` if the least of some values is NaN, as it is if one of them is."""
    if low != low:
        raise ValueError(f"{path}: column {column.name!r} contains NaN; fill it first, as etl.FillMissing does")


def check_weights(column: Column, low: Number, high: Number, path: Place) -> None:
    """Raise `ValueError` unless values from `low` to `high` can be weights of rows."""
    low, high = float(low), float(high)
    if not 0 <= low <= high <= float(np.finfo("float32").max):
        wrong = high if low >= 0 else low
        raise ValueError(
            f"{path}: column {column.name!r}: {wrong} cannot be a weight; weights must be finite and >= 0"
        )


def check_width(column: Column, shortest: int, longest: int, path: Place) -> None:
    """Raise `ValueError` unless all rows of a list column have its `width`, given the least and greatest length.

    A null list has length 0.
    """
    if not shortest == longest == column.width:
        wrong = shortest if shortest != column.width else longest
        raise ValueError(
            f"{path}: column {column.name!r} has a row of {wrong} elements; expected {column.width} in every row "
            "(hotness in the schema, where min and max are equal)"
        )


# ---- in the name of a folder ----------------------------------------------------------------------------------
def parse(column: Column, text: str | None, rows: int, path: Place) -> bool | int | float:
    """Return the value of a column in the name of a file's folder, as one of the schema's dtype; None is a null.

    Raises:
        SchemaError: it is not a value of that dtype.
        ValueError: a null, a NaN, or an id outside [0, cardinality).
    """
    if text is None:
        check_nulls(column, rows, path)
        return 0  # there are no rows
    kind = np.dtype("O" if column.is_list or column.dtype == "datetime" else column.dtype).kind
    value: bool | int | float | None = None
    if kind == "b":
        value = {"true": True, "false": False}.get(text.lower())
    elif kind in "iu" and re.fullmatch(r"[+-]?[0-9]+", text):
        limits = np.iinfo(column.dtype)
        value = int(text) if limits.min <= int(text) <= limits.max else None
    elif kind == "f":
        with suppress(ValueError):
            value = float(text)
    if value is None:
        expected = f"list of {column.dtype}" if column.is_list else column.dtype
        raise SchemaError(
            f"{path}: column {column.name!r} is {text!r} in the name of a folder, but {expected} in the schema"
        )
    if kind in "iu":
        check_ids(column, int(value), int(value), path)
    check_nan(column, value, path)
    if Tag.WEIGHT in column.tags:
        check_weights(column, value, value, path)
    return value
