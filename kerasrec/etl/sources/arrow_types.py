"""Arrow's types as Polars has them, and columns of those that Polars does not read as ones that it does.

Polars knows no list views, no decimals of 256 bits, no zone that is an offset of half an hour (such a column is
read as moments in UTC). Where it meets one in a Parquet file it panics, whether the column is read or not.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

OFFSET = "Etc/UCT"  # UTC, by a name that nobody uses: for moments of zones that Polars has no name for

_PLAIN: dict[pa.DataType, Any] = {
    pa.null(): pl.Null(),
    pa.bool_(): pl.Boolean(),
    **{getattr(pa, f"int{bits}")(): getattr(pl, f"Int{bits}")() for bits in (8, 16, 32, 64)},
    **{getattr(pa, f"uint{bits}")(): getattr(pl, f"UInt{bits}")() for bits in (8, 16, 32, 64)},
    pa.float16(): getattr(pl, "Float16", pl.Float32)(),
    pa.float32(): pl.Float32(),
    pa.float64(): pl.Float64(),
    pa.string(): pl.String(),
    pa.large_string(): pl.String(),
    pa.string_view(): pl.String(),
    pa.date32(): pl.Date(),
    pa.date64(): pl.Datetime("ms"),
}


def polars_type(kind: pa.DataType) -> pl.DataType | None:
    """Return the Polars type of the values of an Arrow type, `None` where kerasrec has no use for them."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if isinstance(
        kind, pa.BaseExtensionType
    ):  # pandas' are periods and intervals, which their storage does not tell
        return None if kind.extension_name.startswith("pandas.") else polars_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return polars_type(kind.value_type)
    if pa.types.is_timestamp(kind):
        unit: Any = "ms" if kind.unit == "s" else kind.unit
        return pl.Datetime(unit, (_known(kind.tz) or OFFSET) if kind.tz else None)
    if pa.types.is_decimal(kind):
        return pl.Decimal(min(kind.precision, 38), kind.scale) if kind.scale >= 0 else None
    if is_list(kind):
        inner = polars_type(kind.value_type)
        return None if inner is None else pl.List(inner)
    return None


def is_list(kind: pa.DataType) -> bool:
    types = pa.types
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return lists or _is_view(kind)


def _is_view(kind: pa.DataType) -> bool:
    return pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)


def is_plain(kind: pa.DataType) -> bool:
    """Whether Polars reads columns of an Arrow type, and of types within it, without a panic."""
    if pa.types.is_timestamp(kind):
        return not kind.tz or _known(kind.tz) is not None
    if isinstance(kind, pa.BaseExtensionType):
        return is_plain(kind.storage_type)
    if _is_view(kind) or pa.types.is_run_end_encoded(kind) or pa.types.is_decimal256(kind):
        return False
    return all(is_plain(kind.field(place).type) for place in range(kind.num_fields))


@lru_cache(maxsize=1024)
def _known(zone: str) -> str | None:
    """Return Polars' name of a zone; `None` where it has none, as for an offset of half an hour."""
    try:
        return pl.Series([0]).cast(pl.Datetime("us", zone)).dtype.time_zone  # type: ignore[attr-defined]
    except pl.exceptions.PolarsError:
        return None


def to_series(name: str, column: pa.ChunkedArray) -> pl.Series:
    """Convert a column whose type `polars_type` knows."""
    kind = _arrow_type(column.type)
    if kind != column.type:
        chunks = [_converted(chunk, kind) for chunk in column.chunks]
        column = pa.chunked_array(chunks, kind)
    return pl.Series(name, column)


def _arrow_type(kind: pa.DataType) -> pa.DataType:
    """The Arrow type that Polars reads as `polars_type(kind)`."""
    if isinstance(kind, pa.BaseExtensionType):
        return _arrow_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _arrow_type(kind.value_type)
    if pa.types.is_timestamp(kind):
        return pa.timestamp(kind.unit, (_known(kind.tz) or OFFSET) if kind.tz else None)
    if pa.types.is_decimal(kind):
        return pa.decimal128(min(kind.precision, 38), kind.scale)
    return pa.large_list(_arrow_type(kind.value_type)) if is_list(kind) else kind


def _converted(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    if is_list(array.type):  # Arrow's own cast of a view has too few offsets
        ends = np.cumsum(array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)
        offsets = pa.array(np.concatenate([[0], ends]))
        values = _converted(array.flatten(), kind.value_type)
        mask = array.is_null() if array.null_count else None
        return pa.LargeListArray.from_arrays(offsets, values, mask=mask)
    return array if array.type == kind else array.cast(kind)
