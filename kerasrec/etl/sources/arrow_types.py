"""Arrow types and columns, converted to those that Polars supports.

Polars supports neither list views, nor decimals of 256 bits, nor time zones that are an offset of half an hour
(such a column is read as times in UTC). It panics where a Parquet file has one of them, even in a column that is
not read.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

OFFSET = "Etc/UCT"  # UTC by a rarely used name: marks times whose zone Polars does not support

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


def polars_type(dtype: pa.DataType) -> pl.DataType | None:
    """Return the Polars type of an Arrow type's values; `None` where kerasrec does not read them."""
    if dtype in _PLAIN:
        return _PLAIN[dtype]
    if isinstance(dtype, pa.BaseExtensionType):  # the storage of pandas' periods and intervals is not their values
        return None if dtype.extension_name.startswith("pandas.") else polars_type(dtype.storage_type)
    if pa.types.is_dictionary(dtype) or pa.types.is_run_end_encoded(dtype):
        return polars_type(dtype.value_type)
    if pa.types.is_timestamp(dtype):
        unit: Any = "ms" if dtype.unit == "s" else dtype.unit
        return pl.Datetime(unit, (_known(dtype.tz) or OFFSET) if dtype.tz else None)
    if pa.types.is_decimal(dtype):
        return pl.Decimal(min(dtype.precision, 38), dtype.scale) if dtype.scale >= 0 else None
    if is_list(dtype):
        inner = polars_type(dtype.value_type)
        return None if inner is None else pl.List(inner)
    return None


def remedy(dtype: pa.DataType) -> str:
    """Say what to do with a column of a type that is not supported."""
    if pa.types.is_temporal(dtype):
        return "cast it to an integer"
    return "kerasrec reads numbers, strings, booleans, dates, and lists of those"


def is_list(dtype: pa.DataType) -> bool:
    """Return whether an Arrow type is one of lists, of any layout."""
    types = pa.types
    lists = types.is_list(dtype) or types.is_large_list(dtype) or types.is_fixed_size_list(dtype)
    return lists or _is_view(dtype)


def _is_view(dtype: pa.DataType) -> bool:
    return pa.types.is_list_view(dtype) or pa.types.is_large_list_view(dtype)


def is_plain(dtype: pa.DataType) -> bool:
    """Return whether Polars reads columns of an Arrow type, and of the types nested in it, without a panic."""
    if pa.types.is_timestamp(dtype):
        return not dtype.tz or _known(dtype.tz) is not None
    if isinstance(dtype, pa.BaseExtensionType):
        return is_plain(dtype.storage_type)
    if _is_view(dtype) or pa.types.is_run_end_encoded(dtype) or pa.types.is_decimal256(dtype):
        return False
    return all(is_plain(dtype.field(place).type) for place in range(dtype.num_fields))


@lru_cache(maxsize=1024)
def _known(zone: str) -> str | None:
    """Return Polars' name of a time zone; `None` where it has none, as for an offset of half an hour."""
    try:
        return pl.Series([0]).cast(pl.Datetime("us", zone)).dtype.time_zone  # type: ignore[attr-defined]
    except pl.exceptions.PolarsError:
        return None


def to_series(name: str, column: pa.ChunkedArray) -> pl.Series:
    """Convert a column whose type `polars_type` knows."""
    dtype = _arrow_type(column.type)
    if dtype != column.type:
        chunks = [_convert(chunk, dtype) for chunk in column.chunks]
        column = pa.chunked_array(chunks, dtype)
    return pl.Series(name, column)


def _arrow_type(dtype: pa.DataType) -> pa.DataType:
    """Return the Arrow type that Polars reads as `polars_type(dtype)`."""
    if isinstance(dtype, pa.BaseExtensionType):
        return _arrow_type(dtype.storage_type)
    if pa.types.is_dictionary(dtype) or pa.types.is_run_end_encoded(dtype):
        return _arrow_type(dtype.value_type)
    if pa.types.is_timestamp(dtype):
        return pa.timestamp(dtype.unit, (_known(dtype.tz) or OFFSET) if dtype.tz else None)
    if pa.types.is_decimal(dtype):
        return pa.decimal128(min(dtype.precision, 38), dtype.scale)
    return pa.large_list(_arrow_type(dtype.value_type)) if is_list(dtype) else dtype


def _convert(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    if is_list(array.type):  # Arrow's own cast of a list view has too few offsets
        ends = np.cumsum(array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)
        offsets = pa.array(np.concatenate([[0], ends]))
        values = _convert(array.flatten(), dtype.value_type)
        mask = array.is_null() if array.null_count else None
        return pa.LargeListArray.from_arrays(offsets, values, mask=mask)
    return array if array.type == dtype else array.cast(dtype)
