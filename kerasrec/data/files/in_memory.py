"""Rows in memory, in the place of a Parquet file: of a frame, an Arrow table, dicts, or a transformed dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa
from polars import selectors

from kerasrec.etl.dataset import ROW_GROUP_ROWS, Dataset
from kerasrec.etl.sources.arrow_columns import ArrowColumns, arrow_columns
from kerasrec.schema import Schema, SchemaError


class InMemory:
    """Rows that are cut into row groups as `Dataset.to_parquet` cuts them, so batches are those of its files.

    What Arrow can share with a frame is not copied.

    Args:
        data: the rows.
        label: what to call them in messages.

    Attributes:
        rows: the number of rows, once `load` was called.
        checksum: of the values of all columns that were loaded; set when they are checked.
    """

    def __init__(self, data: pl.DataFrame | pl.LazyFrame | ArrowColumns, label: str):
        self._data, self.label = data, label
        self._table = pa.table({})
        self.rows = self.checksum = 0

    @classmethod
    def of(cls, data: Any) -> InMemory | None:
        """Return the rows of a `Dataset`, a frame, an Arrow table, dicts or columns; None for anything else.

        Raises:
            SchemaError: the dataset's rows do not fit its schema.
        """
        if isinstance(data, Dataset):
            return cls(data.collect(), "the dataset")
        if isinstance(data, pl.LazyFrame | pl.DataFrame):
            return cls(data, "the frame" if isinstance(data, pl.DataFrame) else "the LazyFrame")
        columns = arrow_columns(data)
        return None if columns is None else cls(columns, columns.name)

    def __str__(self) -> str:
        return self.label

    @property
    def name(self) -> str:
        """The name by which a saved position knows the data: that of its values."""
        return f"{self.checksum:08x}"

    def load(self, schema: Schema) -> pa.Schema:
        """Convert the columns of a schema to Arrow; return the names of all columns, and the types of these.

        Raises:
            SchemaError: a column cannot be converted.
        """
        if isinstance(self._data, ArrowColumns):
            names, self.rows = [*self._data.names, *self._data.duplicates], self._data.rows
            self._table = pa.table({n: self._data.arrow(n) for n in self._data.columns if n in schema})
        else:
            try:
                names, self._table, self.rows = _from_polars(self._data, schema)
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
                reason = str(error).split("\n\n")[0]
                raise SchemaError(f"{self}: {reason}") from error
        types = {field.name: field.type for field in self._table.schema}
        return pa.schema([(name, types.get(name, pa.null())) for name in names])

    def row_groups(self) -> list[int]:
        """Return the number of rows of each row group."""
        return [min(ROW_GROUP_ROWS, self.rows - start) for start in range(0, self.rows, ROW_GROUP_ROWS)]

    def read_row_groups(self, indices: Sequence[int], names: Sequence[str]) -> pa.Table:
        """Return columns of row groups, which are not copied."""
        table = self._table.select(list(names))
        return pa.concat_tables(table.slice(index * ROW_GROUP_ROWS, ROW_GROUP_ROWS) for index in indices)


def _from_polars(frame: pl.DataFrame | pl.LazyFrame, schema: Schema) -> tuple[list[str], pa.Table, int]:
    """Return the names of all columns, those of `schema` as a table, and the number of rows."""
    types = frame.collect_schema()
    chosen = [name for name in types if name in schema]
    for name in chosen:
        if types[name] == pl.Object:
            raise SchemaError(f"column {name!r} contains Python objects; cast it to a type of Polars")
    if isinstance(frame, pl.LazyFrame):
        frame = frame.select(selectors.by_name(chosen)).collect(engine="streaming")
    selected = pl.DataFrame([frame.get_column(name) for name in chosen])
    return list(types), selected.to_arrow(), len(frame)
