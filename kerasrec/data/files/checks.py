"""What a column of a file must satisfy to be what its schema says; each error names the file and the column.

Asked twice: of a file's footer before anything is read, and of decoded values for what the footer leaves open.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa

from kerasrec.schema import Column, Schema, SchemaError, Tag


def is_list(kind: pa.DataType) -> bool:
    types = pa.types
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return lists or types.is_list_view(kind) or types.is_large_list_view(kind)


def element_type(kind: pa.DataType) -> pa.DataType:
    """The Arrow type of values, or of the elements of lists; that of its categories for a dictionary."""
    if is_list(kind):
        kind = kind.value_type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def dtype_name(kind: pa.DataType) -> str:
    """An Arrow type (of a list, its elements') as NumPy names it; Arrow's own name where NumPy has none."""
    kind = element_type(kind)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "string"
    return {"halffloat": "float16", "float": "float32", "double": "float64"}.get(str(kind), str(kind))


def check_loadable(schema: Schema) -> None:
    """Whether batches of numbers can be made of these columns at all. Raises `SchemaError`."""
    for column in schema:
        if column.dtype in ("string", "datetime"):
            kind = "strings" if column.dtype == "string" else "dates"
            raise SchemaError(
                f"column {column.name!r} holds {kind}, which are no input of a model: {_advice(column.dtype)}, or "
                "leave it out with columns="
            )
    for target in schema.targets:
        if target.is_list:
            raise SchemaError(f"target {target.name!r} is a list column; a target is one number a row")


def _advice(kind: str) -> str:
    """What to do with a column of a type that no tensor has, by the type's name; "" for numbers."""
    if kind.startswith(("string", "large_string", "binary", "large_binary", "dictionary")):
        return "encode it with etl.Categorify"
    if kind.startswith(("date", "timestamp", "time")):
        return "make numbers of it with etl.TimeFeatures"
    if kind.startswith(("decimal", "duration")):
        return "cast it to a float or an integer before it is written"
    return ""


def check_type(column: Column, fields: pa.Schema, path: Any) -> None:
    """Raise `SchemaError` unless a file has the column, of a type whose values the schema's dtype may hold."""
    found = fields.get_all_field_indices(column.name)
    if len(found) != 1:
        problem = f"has {len(found)} columns" if found else "has no column"
        raise SchemaError(
            f"{path}: the file {problem} {column.name!r}, its schema one; it has {_some(fields.names)}"
        )
    kind = fields.field(found[0]).type
    if pa.types.is_null(kind) or (is_list(kind) == column.is_list and _fits(element_type(kind), column.dtype)):
        return
    said, seen = (
        f"{'list of ' if listed else ''}{dtype}"
        for listed, dtype in ((column.is_list, column.dtype), (is_list(kind), dtype_name(kind)))
    )
    advice = f"; {advice}" if (advice := _advice(dtype_name(kind))) else ""
    raise SchemaError(f"{path}: column {column.name!r} is {seen} in the file, but {said} in its schema{advice}")


def _fits(kind: pa.DataType, dtype: str) -> bool:
    """Whether values of an Arrow type may be values of a schema's dtype; `exact` then looks at each."""
    if pa.types.is_null(kind) or dtype_name(kind) == dtype:
        return True
    integers = pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0)
    if dtype.startswith("float"):
        return integers or pa.types.is_floating(kind)
    return integers and dtype.startswith(("int", "uint"))


def check_range(column: Column, low: Any, high: Any, path: Any) -> None:
    """Raise `ValueError` where integers from `low` to `high` do not fit the column's integer dtype."""
    if _is_float32(column) or not column.dtype.startswith(("int", "uint")):
        return
    limits = np.iinfo(column.dtype)
    if not limits.min <= low <= high <= limits.max:
        raise _inexact(column, high if low >= limits.min else low, path)


def exact(column: Column, values: Any, path: Any) -> Any:
    """Convert values that a file holds in another type to the column's dtype; NumPy arrays, or alike on a device.

    Targets and weights are left: they become float32 whatever they are.

    Raises:
        ValueError: a value that the dtype cannot hold exactly.
    """
    dtype = np.dtype(column.dtype)
    if values.dtype == dtype or not len(values) or _is_float32(column):
        return values
    if dtype.kind in "iu":
        check_range(column, int(values.min()), int(values.max()), path)
        return values.astype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        made = values.astype(dtype)
        changed = (made.astype(values.dtype) != values) & (values == values)
    if changed.any():
        raise _inexact(column, values[changed][0], path)
    return made


def _is_float32(column: Column) -> bool:
    """Whether batches hold the column in float32 whatever its dtype is."""
    return bool({Tag.TARGET, Tag.WEIGHT} & set(column.tags))


def _inexact(column: Column, value: Any, path: Any) -> ValueError:
    return ValueError(
        f"{path}: column {column.name!r} holds {value}, which is not exactly a value of {column.dtype}, its dtype "
        "in the schema; cast the file's column, or change the schema"
    )


def check_nulls(column: Column, nulls: int, path: Any) -> None:
    """A tensor has no null. Raises `ValueError`."""
    if nulls:
        raise ValueError(
            f"{path}: column {column.name!r} has {nulls:,} nulls; fill them first, as etl.FillMissing and "
            "etl.Categorify do"
        )


def check_ids(column: Column, low: int, high: int, path: Any) -> None:
    """Whether ids from `low` to `high` are rows of the column's table. Raises `ValueError`."""
    size = column.cardinality
    if size is not None and not 0 <= low <= high < size:
        raise ValueError(
            f"{path}: column {column.name!r} holds id {low if low < 0 else high}, but its ids "
            f"go from 0 to {size - 1:,} by the schema's cardinality"
        )


def check_nan(column: Column, low: float, path: Any) -> None:
    """Whether values whose least is `low` are numbers: one NaN makes the least NaN. Raises `ValueError`."""
    if low != low:
        raise ValueError(f"{path}: column {column.name!r} holds NaN; fill it first, as etl.FillMissing does")


def check_weights(column: Column, low: float, high: float, path: Any) -> None:
    """Whether values from `low` to `high` can weigh rows. Raises `ValueError`."""
    low, high = float(low), float(high)
    if not 0 <= low <= high <= float(np.finfo("float32").max):
        wrong = high if low >= 0 else low
        raise ValueError(
            f"{path}: column {column.name!r} holds {wrong}, which is no weight: "
            "weights are finite and not negative"
        )


def check_width(column: Column, shortest: int, longest: int, path: Any) -> None:
    """Whether all rows of a list column have its `width`, given the lengths of some; a null list has length 0.
    Raises `ValueError`."""
    if not shortest == longest == column.width:
        wrong = shortest if shortest != column.width else longest
        raise ValueError(
            f"{path}: column {column.name!r} has a row of {wrong} elements, but each has {column.width} by its "
            "hotness, min and max, in the schema"
        )


def parse(column: Column, text: str | None, rows: int, path: Any) -> bool | int | float:
    """The value that the name of a file's folder has for a column, of the schema's dtype; None is a null.

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
        said = f"list of {column.dtype}" if column.is_list else column.dtype
        raise SchemaError(
            f"{path}: column {column.name!r} is {text!r} by the name of a folder, but {said} in its schema"
        )
    if kind in "iu":
        check_ids(column, int(value), int(value), path)
    check_nan(column, value, path)
    if Tag.WEIGHT in column.tags:
        check_weights(column, value, value, path)
    return value


def _some(names: Iterable[str], most: int = 12) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
