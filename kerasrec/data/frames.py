"""Decoded columns, and all that is done to them between a file and a batch: decode, gather, pad.

Here with pyarrow and NumPy; everything that cuDF and CuPy would do otherwise is in this file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kerasrec.data.checks import check_ids, check_nulls
from kerasrec.data.chunks import Chunk
from kerasrec.schema import Column, Schema, Tag

Rows: TypeAlias = slice | np.ndarray  # which rows of a frame: a range, or indices in any order


@dataclass(frozen=True)
class Ragged:
    """A list column: row i is `values[offsets[i]:offsets[i + 1]]`; `offsets` is int64 and starts at 0."""

    values: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1


Frame: TypeAlias = dict[str, "np.ndarray | Ragged"]  # one contiguous column a name, all of the same number of rows


@dataclass(frozen=True)
class Batch:
    """Rows ready for a model, in few arrays: per-tensor costs are what makes a batch of many columns slow.

    Args:
        blocks: dtype -> (columns of that dtype, rows).
        lists: a list column's name -> `Ragged`, or padded (rows, max hotness).
    """

    blocks: dict[str, np.ndarray]
    lists: dict[str, np.ndarray | Ragged]


class Layout:
    """Where a schema's columns stand in a `Batch`; targets are float32 whatever they are on disk."""

    def __init__(self, schema: Schema, pad: bool):
        self.columns = list(schema)
        self.pad = pad
        self.lists = [column for column in schema if column.is_list]
        self.blocks: dict[str, list[str]] = {}
        for column in schema:
            if not column.is_list:
                self.blocks.setdefault(self.dtype(column), []).append(column.name)

    @staticmethod
    def dtype(column: Column) -> str:
        return "float32" if Tag.TARGET in column.tags else column.dtype


def read(chunks: Iterable[Chunk], layout: Layout) -> Frame:
    """Decode whole row groups, each column contiguous.

    Raises:
        OSError: a file cannot be read, named.
        ValueError: nulls, NaNs, or ids outside [0, cardinality), with file and column.
    """
    names = [column.name for column in layout.columns]
    parts: dict[str, list[np.ndarray | Ragged]] = {name: [] for name in names}
    for path, group in groupby(chunks, key=lambda chunk: chunk.path):
        each = list(group)
        try:
            with pq.ParquetFile(path) as file:
                table = file.read_row_groups([chunk.row_group for chunk in each], columns=names)
        except (pa.ArrowException, OSError) as error:
            raise OSError(f"{path}: cannot be read: {error}") from error
        unchecked = frozenset().union(*(chunk.unchecked for chunk in each))
        for column in layout.columns:
            for array in table[column.name].chunks:
                part = _to_numpy(array)
                values = part.values if isinstance(part, Ragged) else part
                nulls = array.flatten().null_count if isinstance(part, Ragged) else array.null_count
                check_nulls(column, nulls, path)
                if column.name in unchecked and len(values):
                    check_ids(column, values.min(), values.max(), path)
                if values.dtype.kind == "f" and len(values) and np.isnan(values.min()):  # min is NaN if one is
                    raise ValueError(
                        f"{path}: column {column.name!r} holds NaN; fill it first, as etl.FillMissing does"
                    )
                if Tag.TARGET in column.tags:
                    part = values.astype("float32", copy=False)
                parts[column.name].append(part)
    return {name: _concat(parts.pop(name)) for name in names}


def _to_numpy(array: pa.Array) -> np.ndarray | Ragged:
    """Without a copy where Arrow's buffer is one already. A null list is an empty list."""
    if pa.types.is_fixed_size_list(array.type):
        array = array.cast(pa.list_(array.type.value_type))
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        offsets = array.offsets.to_numpy().astype("int64")
        values = array.values.slice(offsets[0], offsets[-1] - offsets[0])
        return Ragged(values.to_numpy(zero_copy_only=False), offsets - offsets[0])
    return array.to_numpy(zero_copy_only=False)


def _concat(parts: Sequence[np.ndarray | Ragged]) -> np.ndarray | Ragged:
    if len(parts) == 1:
        return parts[0]
    if not isinstance(parts[0], Ragged):
        return np.concatenate(parts)
    starts = np.cumsum([0, *(len(part.values) for part in parts)])
    offsets = [part.offsets[1:] + start for part, start in zip(parts, starts, strict=False)]
    return Ragged(np.concatenate([part.values for part in parts]), np.concatenate([[0], *offsets]))


def gather(pieces: Sequence[tuple[Frame, Rows]], layout: Layout) -> Batch:
    """One batch out of the given rows of one frame or several, in the order given.

    Raises:
        ValueError: a list has more elements than the schema's max hotness, when padding.
    """
    sizes = [rows.stop - rows.start if isinstance(rows, slice) else len(rows) for _, rows in pieces]
    bounds = np.cumsum([0, *sizes])
    blocks = {dtype: _aligned((len(names), bounds[-1]), dtype) for dtype, names in layout.blocks.items()}
    for (frame, rows), start, stop in zip(pieces, bounds, bounds[1:], strict=False):
        for dtype, names in layout.blocks.items():
            for name, out in zip(names, blocks[dtype], strict=True):
                if isinstance(rows, slice):
                    out[start:stop] = frame[name][rows]
                else:  # "clip" because the default mode writes `out` through a buffer; no index is outside
                    np.take(frame[name], rows, out=out[start:stop], mode="clip")
    lists = {}
    for column in layout.lists:
        ragged = _concat([_gather_ragged(frame[column.name], rows) for frame, rows in pieces])
        lists[column.name] = _pad(ragged, column) if layout.pad else ragged
    return Batch(blocks, lists)


def _gather_ragged(column: Ragged, rows: Rows) -> Ragged:
    values, offsets = column.values, column.offsets
    if isinstance(rows, slice):
        offsets = offsets[rows.start : rows.stop + 1]
        return Ragged(values[offsets[0] : offsets[-1]], offsets - offsets[0])
    starts, lengths = offsets[rows], offsets[rows + 1] - offsets[rows]
    out = np.concatenate([[0], np.cumsum(lengths)])
    return Ragged(values[np.repeat(starts - out[:-1], lengths) + np.arange(out[-1])], out)


def _pad(ragged: Ragged, column: Column) -> np.ndarray:
    """(rows, max hotness), short rows filled up with 0."""
    lengths = np.diff(ragged.offsets)
    width = column.hotness.max
    if len(lengths) and lengths.max() > width:
        raise ValueError(
            f"list column {column.name!r} has a row of {lengths.max()} elements, the schema says at most {width}: "
            'such a row does not fit when padded; lists="ragged" takes any length'
        )
    out = np.zeros((len(lengths), width), ragged.values.dtype)
    out[np.arange(width) < lengths[:, None]] = ragged.values
    return out


def _aligned(shape: tuple[int, int], dtype: str, to: int = 64) -> np.ndarray:
    """An empty array that starts where TensorFlow wants it, so that it becomes a tensor without a copy."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + to, "uint8")
    start = -raw.ctypes.data % to
    return raw[start : start + size].view(dtype).reshape(shape)
