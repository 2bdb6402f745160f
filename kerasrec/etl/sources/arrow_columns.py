"""The columns of data that Arrow converts: Arrow tables, pandas frames, rows as dicts, and columns by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from kerasrec.etl.sources.arrow_types import polars_type, remedy, to_series
from kerasrec.excerpts import excerpt
from kerasrec.schema import SchemaError


@dataclass
class ArrowColumns:
    """Columns, each converted when it is read.

    Args:
        columns: functions that return the Arrow column of each name that is unique.
        duplicates: the names that several columns have.
        name: what to call the data in messages.
        rows: the number of rows.
        series: the columns converted so far.
    """

    columns: Mapping[str, Callable[[], pa.ChunkedArray]]
    duplicates: Sequence[str]
    name: str
    rows: int
    series: dict[str, pl.Series] = field(default_factory=dict)

    @property
    def names(self) -> Collection[str]:
        return dict.fromkeys([*self.columns, *self.duplicates])

    def types(self, names: Sequence[str]) -> dict[str, pl.DataType]:
        return {name: self[name].dtype for name in names}

    def read(self, names: Sequence[str]) -> pl.LazyFrame:
        return pl.DataFrame([self[name] for name in names]).lazy()

    def arrow(self, name: str) -> pa.ChunkedArray:
        """Return a column in its own type. Raise `SchemaError` if it cannot be converted to Arrow."""
        if name in self.duplicates:
            raise SchemaError(f"{self.name}: several columns are named {name!r}; rename all but one")
        try:
            return self.columns[name]()
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            reason = f"{error}; convert it to one type, for example with .astype(str)"
            raise SchemaError(f"{self.name}: column {name!r} cannot be read: {reason}") from None

    def __getitem__(self, name: str) -> pl.Series:
        if name not in self.series:
            column = self.arrow(name)
            if polars_type(column.type) is None:
                raise SchemaError(f"{self.name}: column {name!r} is of type {column.type}; {remedy(column.type)}")
            self.series[name] = to_series(name, column)
        return self.series[name]


def arrow_columns(data: Any) -> ArrowColumns | None:
    """Return the columns of data that Arrow converts; `None` for anything else.

    Args:
        data: an Arrow table, record batch or reader; a pandas frame; a list of dicts, where a key that is missing
            is a null; or a dict of columns: lists, or arrays of NumPy, pandas, Polars or Arrow.

    Raises:
        SchemaError: columns of a dict have different lengths, or one is not a list or an array.
    """
    if isinstance(data, Mapping):
        return _of_columns(data)
    if isinstance(data, list | tuple) and data and all(isinstance(row, Mapping) for row in data):
        return _of_rows(data)
    package = type(data).__module__.partition(".")[0]
    if isinstance(data, pa.RecordBatchReader):
        data = data.read_all()
    if package == "pandas" and hasattr(data, "columns"):
        names = [str(name) for name in data.columns]
        columns = [partial(_from_pandas, data.iloc[:, at]) for at in range(len(names))]
    elif isinstance(data, pa.Table | pa.RecordBatch):
        names = data.schema.names
        columns = [partial(_chunked, data.column(at)) for at in range(len(names))]
    else:
        return None
    duplicates = [name for name, count in Counter(names).items() if count > 1]
    unique = {name: column for name, column in zip(names, columns, strict=True) if name not in duplicates}
    return ArrowColumns(unique, duplicates, f"the {'frame' if package == 'pandas' else 'table'}", len(data))


def _of_rows(rows: Sequence[Mapping[str, Any]]) -> ArrowColumns:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: partial(_from_rows, rows, name) for name in names}
    return ArrowColumns(columns, (), "the rows", len(rows))


def _from_rows(rows: Sequence[Mapping[str, Any]], name: str) -> pa.ChunkedArray:
    return _chunked(pa.array([row.get(name) for row in rows], from_pandas=True))


def _of_columns(data: Mapping[str, Any]) -> ArrowColumns:
    where = "the dict of columns"
    for name, values in data.items():
        if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
            raise SchemaError(
                f"{where}: {name!r} is {excerpt(values)}; expected a list or an array (for rows, a list of dicts)"
            )
    lengths = {name: len(values) for name, values in data.items()}
    rows = next(iter(lengths.values()), 0)
    for name, length in lengths.items():
        if length != rows:
            raise SchemaError(
                f"{where}: {name!r} has {length:,} values, but {next(iter(lengths))!r} has {rows:,}; "
                "expected equal lengths"
            )
    return ArrowColumns({name: partial(_from_values, v) for name, v in data.items()}, (), where, rows)


def _from_values(values: Any) -> pa.ChunkedArray:
    if isinstance(values, pl.Series):
        return _chunked(values.to_arrow())
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return _chunked(values)
    if type(values).__module__.partition(".")[0] == "pandas":
        return _from_pandas(values)
    if not isinstance(values, list | tuple):
        values = np.asarray(values)
        values = values if values.ndim == 1 else list(values)
    return _chunked(pa.array(values, from_pandas=True))


def _from_pandas(series: Any) -> pa.ChunkedArray:
    if str(series.dtype).startswith("Sparse"):
        series = series.sparse.to_dense()
    return _chunked(pa.array(series, from_pandas=True))


def _chunked(array: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
