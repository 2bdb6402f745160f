"""What a rank holds of a model's tables and of their optimizer state, by the names they have on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerasrec.parallel import comm
from kerasrec.tables.row_io import read_rows, row_blocks
from kerasrec.tables.variables import TableVariable, table_variables


@dataclass(frozen=True)
class Held:
    """A part of one array, a table or what an optimizer keeps for it, in consecutive rows of a variable.

    It is the whole array's `rows` and `columns`; a rank may hold no row of it.
    """

    variable: Any
    first: int
    rows: range
    columns: tuple[int, int]
    whole: tuple[int, int]

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
        """The rows held, counted from 0, some 16 MiB at a time."""
        return row_blocks(len(self.rows), self.row_bytes)

    def blocks(self) -> Iterator[np.ndarray]:
        for start, stop in self.spans():
            yield read_rows(self.variable, self.first + start, self.first + stop)


@dataclass(frozen=True)
class HeldTable:
    """A rank's part of a table; `arrays` are its values, first, and what its optimizer keeps."""

    name: str
    optimizer: str | None  # the class of what trains it
    arrays: dict[str, Held]

    @property
    def values(self) -> Held:
        return self.arrays[self.name]

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """The whole arrays' shapes: the same on every rank."""
        return {key: held.whole for key, held in self.arrays.items()}


def tables_of(model: keras.Model, optimizer: Any, *, needed: bool = True) -> dict[str, HeldTable]:
    """All tables of a model by name, those too of which this rank holds nothing.

    Args:
        model: a built model.
        optimizer: what trains its tables, built; None leaves its state out, as does one that is not of
            `kr.optimizers`, which does not tell what belongs to a table.
        needed: whether a model without tables is refused.

    Raises:
        ValueError: there are none, or two of one name.
    """
    optimizer = optimizer if hasattr(optimizer, "table_slots") else None
    tables: dict[str, HeldTable] = {}
    widths: Counter[str] = Counter()
    for variable in table_variables(model):
        for part in variable.shards.slices:
            name, rows = part.source.name, part.rows(comm.rank())
            widths[name] += part.table.embedding_dim
            if widths[name] > part.source.embedding_dim:
                raise ValueError(f"two layers of {model.name!r} have a table {name!r}; give one another name")
            if rows or name not in tables:
                tables[name] = _held(variable, part, rows, optimizer)
    if needed and not tables:
        raise ValueError(f"{model.name!r} has no tables; it needs a DistributedEmbedding layer that is built")
    return tables


def _held(variable: TableVariable, part: Any, rows: range, optimizer: Any) -> HeldTable:
    name, first = part.source.name, variable.stack.offsets[part.table.name] if rows else 0
    slots = {} if optimizer is None else optimizer.table_slots(variable)
    arrays = {}
    for key, each in {name: variable, **{f"{name}/{slot}": of for slot, of in slots.items()}}.items():
        # What is kept for each number is cut as the table is; what is kept for each row has columns of its own.
        by_number = each.shape[1] == variable.shape[1]
        columns = part.columns if by_number else (0, each.shape[1])
        whole = (part.source.vocabulary_size, part.source.embedding_dim if by_number else each.shape[1])
        arrays[key] = Held(each, first, rows, columns, whole)
    trained = None if optimizer is None else type(optimizer.optimizer_of(variable)).__name__
    return HeldTable(name, trained, arrays)
