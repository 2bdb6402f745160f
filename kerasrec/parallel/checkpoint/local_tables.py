"""This rank's shards of a model's tables and of their optimizer state, by the names they have on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import keras
import numpy as np

from kerasrec.parallel import comm
from kerasrec.tables.row_io import read_rows, row_blocks
from kerasrec.tables.sharding import ColumnSlice
from kerasrec.tables.variables import TableVariable, table_variables
from kerasrec.typing import Optimizer, Variable


@runtime_checkable
class TableStateOptimizer(Protocol):
    """An optimizer that says which of its variables belong to which table, as those of `kr.optimizers` do."""

    def table_slots(self, variable: Variable) -> dict[str, Variable]:
        """Return the optimizer's variables for a stack of tables, by name; each has the stack's rows."""

    def optimizer_of(self, variable: Variable) -> Optimizer:
        """Return the optimizer that trains a variable: this one, or the table's own."""

    def dense_state(self) -> dict[str, Variable]:
        """Return the optimizer's variables that belong to no table, by name."""


@dataclass(frozen=True)
class LocalArray:
    """This rank's shard of an array: of a table, or of what an optimizer keeps for one.

    Args:
        variable: the variable that has it.
        first: its first row in the variable, where it is consecutive rows.
        rows, columns: which of the full array's it is; a rank may have no row of it.
        full_shape: of the array on all ranks together.
    """

    variable: Variable
    first: int
    rows: range
    columns: tuple[int, int]
    full_shape: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), self.columns[1] - self.columns[0]

    @property
    def dtype(self) -> str:
        return keras.backend.standardize_dtype(self.variable.dtype)

    @property
    def row_bytes(self) -> int:
        return self.shape[1] * np.dtype(self.dtype).itemsize

    @property
    def bytes(self) -> int:
        return len(self.rows) * self.row_bytes

    def spans(self) -> Iterator[tuple[int, int]]:
        """Cut the rows, counted from 0, into spans [start, stop) of some 16 MiB."""
        return row_blocks(len(self.rows), self.row_bytes)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield copies of the rows, a span at a time."""
        for start, stop in self.spans():
            yield read_rows(self.variable, self.first + start, self.first + stop)


@dataclass(frozen=True)
class LocalTable:
    """This rank's shard of a table.

    Args:
        name: the table's.
        optimizer: the class of the optimizer that trains it; None if its state is left out.
        arrays: the table's values, under its name, and then what its optimizer keeps.
    """

    name: str
    optimizer: str | None
    arrays: dict[str, LocalArray]

    @property
    def values(self) -> LocalArray:
        return self.arrays[self.name]

    @property
    def full_shapes(self) -> dict[str, tuple[int, int]]:
        """The full arrays' shapes, which are the same on every rank."""
        return {key: array.full_shape for key, array in self.arrays.items()}


def local_tables(
    model: keras.Model, optimizer: Optimizer | None, *, required: bool = True
) -> dict[str, LocalTable]:
    """Return this rank's shard of every table of a model, by the table's name, empty ones included.

    Args:
        model: a built model.
        optimizer: the built optimizer of its tables; None leaves its state out, as does one that is not of
            `kr.optimizers`, which cannot say what belongs to a table.
        required: whether a model without tables is refused.

    Raises:
        ValueError: there is no table, or two have the same name.
    """
    stateful = optimizer if isinstance(optimizer, TableStateOptimizer) else None
    tables: dict[str, LocalTable] = {}
    widths: Counter[str] = Counter()
    for variable in table_variables(model):
        for columns in variable.shards.slices:
            name, rows = columns.source.name, columns.rows(comm.rank())
            widths[name] += columns.table.embedding_dim
            if widths[name] > columns.source.embedding_dim:
                raise ValueError(
                    f"two layers of {model.name!r} have a table {name!r}; tables' names must be unique in a model"
                )
            if rows or name not in tables:
                tables[name] = _local_table(variable, columns, rows, stateful)
    if required and not tables:
        raise ValueError(
            f"{model.name!r} has no tables; expected a model with a built DistributedEmbedding layer. Build the "
            "model first, or save it with kr.save_model"
        )
    return tables


def _local_table(
    variable: TableVariable, columns: ColumnSlice, rows: range, optimizer: TableStateOptimizer | None
) -> LocalTable:
    name, first = columns.source.name, variable.stack.offsets[columns.table.name] if rows else 0
    slots = {} if optimizer is None else optimizer.table_slots(variable)
    arrays = {}
    for key, array in {name: variable, **{f"{name}/{slot}": array for slot, array in slots.items()}}.items():
        # A slot as wide as the table is cut as the table is; one with a number per row has columns of its own.
        as_wide = array.shape[1] == variable.shape[1]
        width = columns.source.embedding_dim if as_wide else array.shape[1]
        own_columns = columns.columns if as_wide else (0, width)
        arrays[key] = LocalArray(array, first, rows, own_columns, (columns.source.vocabulary_size, width))
    trained_by = None if optimizer is None else type(optimizer.optimizer_of(variable)).__name__
    return LocalTable(name, trained_by, arrays)
