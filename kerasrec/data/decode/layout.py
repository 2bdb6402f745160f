"""Decoded rows in memory: a pool of them (`Frame`), a batch, and where their columns are (`Layout`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from kerasrec.data.decode.buffers import Buffers
from kerasrec.data.files.discovery import Place
from kerasrec.schema import Column, Schema, SchemaError, Tag

Rows: TypeAlias = slice | np.ndarray  # rows of a frame: a range, or indices in any order


@dataclass(frozen=True)
class Ragged:
    """A list column: row i is `values[offsets[i]:offsets[i + 1]]`; `offsets` is int64 and starts at 0."""

    values: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1


# A column of a batch: (rows,), (rows, width), or a list column that is not padded.
BatchColumn: TypeAlias = np.ndarray | Ragged


@dataclass(frozen=True)
class Frame:
    """A pool of decoded rows.

    Args:
        blocks: arrays (rows, columns). For reading in order: by dtype, column by column in memory. For reading
            permuted: by item size, all dtypes of 4 bytes together, row by row in memory: fetching a row then
            touches two or three cache lines instead of one per column, which is several times faster.
        lists: name -> list column.
        vectors: name -> (rows, width), a list column of numbers of which every row has the same length.
    """

    blocks: dict[str, np.ndarray]
    lists: dict[str, Ragged]
    vectors: dict[str, np.ndarray]


@dataclass(frozen=True)
class Batch:
    """Rows ready for a model, in few arrays: converting each column to a tensor would be slow.

    Args:
        blocks: dtype -> (columns of that dtype, rows), 64-byte aligned. The memory is lent: once nothing refers
            to a block or a view of it, a later batch uses it.
        lists: name of a list column -> `Ragged`, or padded (rows, max hotness).
        vectors: name -> (rows, width), in memory that is lent as that of the blocks.
    """

    blocks: dict[str, np.ndarray]
    lists: dict[str, BatchColumn]
    vectors: dict[str, np.ndarray]


class Layout:
    """Where the columns of a schema are in a `Frame` and a `Batch`, and the memory that these use.

    Targets and weights are float32 whatever they are on disk.

    Args:
        schema: the columns.
        pad: whether lists are padded.
        verify: whether the checksums of a row group are compared when it is first read.
    """

    def __init__(self, schema: Schema, pad: bool, verify: bool = True):
        self.columns = list(schema)
        self.pad, self.verify = pad, verify
        self.verified: set[tuple[Place, int]] = set()  # row groups whose checksums were correct
        # Apart, because memory of a pool would be freed when a batch needs some and none fits.
        self.pools, self.batches = Buffers(), Buffers()
        self.lists = [column for column in schema if column.is_list and column.width is None]
        self.vectors = {column.name: column for column in schema if column.width is not None}
        self.blocks: dict[str, list[str]] = {}  # dtype -> the names of its scalar columns
        for column in schema:
            if not column.is_list:
                dtype = "float32" if {Tag.TARGET, Tag.WEIGHT} & set(column.tags) else column.dtype
                self.blocks.setdefault(dtype, []).append(column.name)
        self.rowwise: dict[str, dict[str, list[str]]] = {}  # the same by item size: uint32 -> {float32: ...}
        for dtype, names in self.blocks.items():
            self.rowwise.setdefault(f"uint{8 * np.dtype(dtype).itemsize}", {})[dtype] = names

    def columns_of(self, batch: Batch) -> dict[str, BatchColumn]:
        """Return the columns of a batch by name: views of its blocks, and its lists."""
        columns: dict[str, BatchColumn] = {}
        for dtype, names in self.blocks.items():
            columns.update(zip(names, batch.blocks[dtype], strict=True))
        return columns | batch.lists | batch.vectors


def max_hotness(column: Column) -> int:
    """Return the width of a list column when padded. Raises `SchemaError` if the schema does not say it."""
    if column.hotness is None:
        raise SchemaError(
            f"list column {column.name!r} cannot be padded: it has no hotness in the schema; "
            'add it to the schema, or pass lists="ragged"'
        )
    return column.hotness.max


def check_hotness(column: Column, longest: int) -> None:
    """Raise `ValueError` if a row of `longest` elements does not fit in the padded column."""
    if longest > (width := max_hotness(column)):
        raise ValueError(
            f"list column {column.name!r} has a row of {longest} elements, more than the schema's max hotness "
            f'{width}, to which rows are padded; lists="ragged" takes any length'
        )
