"""Decoded columns, and all that is done to them between a file and a batch: decode, gather, pad.

Here with pyarrow and NumPy; everything that cuDF and CuPy would do otherwise is in this file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kerasrec.data.decode import aligned
from kerasrec.data.decode.buffers import Buffers
from kerasrec.data.files.checks import check_ids, check_nan, check_nulls, check_weights, check_width, exact
from kerasrec.data.files.discovery import Chunk, Place
from kerasrec.data.files.remote import Remote, RemoteError
from kerasrec.data.files.versions import check_version
from kerasrec.data.threads import side_by_side
from kerasrec.kernels import pools
from kerasrec.schema import Column, Schema, SchemaError, Tag

DECODERS = min(4, os.cpu_count() or 1)  # portions that are decoded at a time
PORTION_ROWS = 65_536  # row groups of fewer rows are decoded together up to this many

Rows: TypeAlias = slice | np.ndarray  # which rows of a frame: a range, or indices in any order


@dataclass(frozen=True)
class Ragged:
    """A list column: row i is `values[offsets[i]:offsets[i + 1]]`; `offsets` is int64 and starts at 0."""

    values: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Frame:
    """A pool of decoded rows.

    Args:
        blocks: (rows, columns) each. To be read in order: by dtype, and column by column in memory. To be
            permuted: by the size of an item, all dtypes of 4 bytes together, and row by row: fetching a row then
            touches two or three cache lines instead of one a column, which makes it several times cheaper.
        lists: name -> list column.
        vectors: name -> (rows, width), a list column of numbers of which all rows have as many.
    """

    blocks: dict[str, np.ndarray]
    lists: dict[str, Ragged]
    vectors: dict[str, np.ndarray]


@dataclass(frozen=True)
class Batch:
    """Rows ready for a model, in few arrays: what tensors cost one by one makes a batch of many columns slow.

    Args:
        blocks: dtype -> (columns of that dtype, rows), 64-byte aligned. The memory is lent: once nothing refers
            to a block or a view of it, a later batch has it.
        lists: a list column's name -> `Ragged`, or padded (rows, max hotness).
        vectors: name -> (rows, width), in memory that is lent as the blocks' is.
    """

    blocks: dict[str, np.ndarray]
    lists: dict[str, np.ndarray | Ragged]
    vectors: dict[str, np.ndarray]


class Layout:
    """Where a schema's columns stand in a `Frame` and a `Batch`, and the memory they are in.

    Targets and weights are float32 whatever they are on disk.

    Args:
        schema: the columns.
        pad: whether lists are padded.
        verify: whether checksums of row groups are compared when these are first read.
    """

    def __init__(self, schema: Schema, pad: bool, verify: bool = True):
        self.columns = list(schema)
        self.pad, self.verify = pad, verify
        self.verified: set[tuple[Place, int]] = set()  # row groups whose checksums were found right
        # Apart, as a pool's memory is given up where a batch's is wanted and there is none that fits.
        self.pools, self.batches = Buffers(), Buffers()
        self.lists = [column for column in schema if column.is_list and column.width is None]
        self.vectors = {column.name: column for column in schema if column.width is not None}
        self.blocks: dict[str, list[str]] = {}  # dtype -> the names of its scalar columns
        for column in schema:
            if not column.is_list:
                dtype = "float32" if {Tag.TARGET, Tag.WEIGHT} & set(column.tags) else column.dtype
                self.blocks.setdefault(dtype, []).append(column.name)
        self.rowwise: dict[str, dict[str, list[str]]] = {}  # the same by size of an item: uint32 -> {float32: ...}
        for dtype, names in self.blocks.items():
            self.rowwise.setdefault(f"uint{8 * np.dtype(dtype).itemsize}", {})[dtype] = names

    def columns_of(self, batch: Batch) -> dict[str, np.ndarray | Ragged]:
        """A batch by columns: views of its blocks, and its lists."""
        columns: dict[str, np.ndarray | Ragged] = {}
        for dtype, names in self.blocks.items():
            columns.update(zip(names, batch.blocks[dtype], strict=True))
        return columns | batch.lists | batch.vectors


def read(chunks: Sequence[Chunk], layout: Layout, permute: bool) -> Frame:
    """Decode chunks into one frame, in the order given; `permute` tells what it is laid out for.

    Small whole neighbours of a file are decoded in one go, a row group of which a part is wanted by itself;
    `DECODERS` of these portions at a time.

    Raises:
        OSError: a file cannot be read, named.
        ValueError: nulls, NaNs, or ids outside [0, cardinality), with file and column.
    """
    total = sum(chunk.rows for chunk in chunks)
    places = layout.rowwise if permute else {dtype: {dtype: names} for dtype, names in layout.blocks.items()}
    blocks = {
        kind: layout.pools.empty((total, sum(map(len, parts.values()))), kind, "C" if permute else "F")
        for kind, parts in places.items()
    }
    lists = [column.name for column in layout.lists]
    vectors = {
        name: layout.pools.empty((total, column.width or 0), column.dtype)
        for name, column in layout.vectors.items()
    }

    def fill(portion: tuple[list[Chunk], int]) -> dict[str, Ragged]:
        neighbours, start = portion
        path = neighbours[0].path
        groups = {(path, chunk.row_group) for chunk in neighbours}
        table = _decode(neighbours, layout.columns, layout.verify and not groups <= layout.verified)
        check_version(path, neighbours[0].version)
        layout.verified |= groups
        table = table.slice(neighbours[0].start or 0, sum(chunk.rows for chunk in neighbours))
        unchecked = frozenset().union(*(chunk.unchecked for chunk in neighbours))
        scalars, ragged = {}, {}
        for column in layout.columns:
            array = _contiguous(table[column.name])
            if pa.types.is_null(array.type):
                array = pa.nulls(len(array), pa.list_(pa.null()) if column.is_list else pa.null())
            values = array.flatten() if column.is_list else array
            check_nulls(column, values.null_count, path)
            values = exact(column, _numbers(values, column, path), path)
            _check_values(column, values, path, ids=column.name in unchecked)
            if column.name in vectors:
                lengths = _lengths(array)
                check_width(column, lengths.min(), lengths.max(), path)
                vectors[column.name][start : start + len(lengths)] = values.reshape(len(lengths), -1)
            elif column.is_list:
                ragged[column.name] = Ragged(values, _offsets(array))
            else:
                scalars[column.name] = values
        for kind, parts in places.items():
            columns = [
                scalars[name].astype(dtype, copy=False).view(kind) for dtype in parts for name in parts[dtype]
            ]
            block = blocks[kind][start : start + table.num_rows]
            if permute:
                pools.interleave(columns, block)
            else:
                np.stack(columns, axis=1, out=block)
        return ragged

    portions = list(_portions(chunks))
    starts = accumulate((sum(chunk.rows for chunk in portion) for portion in portions[:-1]), initial=0)
    # Arrow decodes on all cores, but what follows is one thread's work for each portion.
    filled = side_by_side(fill, zip(portions, starts, strict=True), DECODERS)
    return Frame(blocks, {name: _concat([lists[name] for lists in filled]) for name in lists}, vectors)


def _portions(chunks: Sequence[Chunk]) -> Iterator[list[Chunk]]:
    """Chunks to be decoded in one go: of one file, and few rows. Arrow's memory then stays in the cache, and what
    it gives back for one portion it has again for the next one."""
    portion: list[Chunk] = []
    for chunk in chunks:
        if portion and not (
            portion[0].path == chunk.path
            and portion[0].start is chunk.start is None
            and sum(each.rows for each in portion) + chunk.rows <= PORTION_ROWS
        ):
            yield portion
            portion = []
        portion.append(chunk)
    if portion:
        yield portion


def _decode(chunks: Sequence[Chunk], columns: Sequence[Column], verify: bool) -> pa.Table:
    """Columns of whole row groups of one file; `verify` compares the checksums of their pages."""
    path, constants, row_groups = chunks[0].path, chunks[0].constants, [chunk.row_group for chunk in chunks]
    names = [column.name for column in columns if column.name not in constants]
    try:
        if isinstance(path, Remote):
            table = path.read_row_groups(row_groups, names, verify)
        else:
            with pq.ParquetFile(path, page_checksum_verification=verify) as file:
                table = file.read_row_groups(row_groups, columns=names)
    except Exception as error:  # Arrow has many kinds for what a damaged file may say
        with suppress(RemoteError, FileNotFoundError):
            check_version(path, chunks[0].version)
        if isinstance(error, RemoteError):
            raise
        raise OSError(f"{path}: cannot be read: {error}") from error
    rows = sum(chunk.rows for chunk in chunks)
    if chunks[0].start is None and table.num_rows != rows:
        raise OSError(
            f"{path}: the file is damaged: row groups of {rows:,} rows by its footer hold {table.num_rows:,}"
        )
    for column in columns:
        if column.name in constants:
            values = np.full(table.num_rows, constants[column.name], column.dtype)
            table = table.append_column(column.name, pa.array(values))
    return table


def _contiguous(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()  # which copies even one chunk


def _numbers(values: pa.Array, column: Column, path: Place) -> np.ndarray:
    """Convert an array without nulls, of numbers of any type."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_null(values.type):
        return np.empty(0, column.dtype)
    if pa.types.is_decimal(values.type):
        try:
            values = values.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path}: column {column.name!r}: {error}") from None
    return values.to_numpy(zero_copy_only=False)


def _check_values(column: Column, values: np.ndarray, path: Place, ids: bool) -> None:
    if ids and len(values):
        check_ids(column, values.min(), values.max(), path)
    if values.dtype.kind == "f" and len(values):
        check_nan(column, values.min(), path)
    if Tag.WEIGHT in column.tags and len(values):
        check_weights(column, values.min(), values.max(), path)


def _lengths(array: pa.Array) -> np.ndarray:
    """Of each row's list. A null list is an empty list."""
    return array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)


def _offsets(array: pa.Array) -> np.ndarray:
    """Where each row's elements start in `array.flatten()`, and the end."""
    return np.concatenate([[0], np.cumsum(_lengths(array), dtype="int64")])


def _concat(parts: Sequence[Ragged]) -> Ragged:
    if len(parts) == 1:
        return parts[0]
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
    blocks = {d: layout.batches.empty((len(names), bounds[-1]), d) for d, names in layout.blocks.items()}
    vectors = {
        name: layout.batches.empty((bounds[-1], column.width or 0), column.dtype)
        for name, column in layout.vectors.items()
    }
    for (frame, rows), start, stop in zip(pieces, bounds, bounds[1:], strict=False):
        for name, out in vectors.items():
            if isinstance(rows, slice):
                out[start:stop] = frame.vectors[name][rows]
            else:
                np.take(frame.vectors[name], rows, axis=0, out=out[start:stop], mode="clip")
        if isinstance(rows, slice):
            for dtype, block in blocks.items():
                block[:, start:stop] = frame.blocks[dtype][rows].T
        else:
            for kind, parts in layout.rowwise.items():
                outs = [blocks[dtype][:, start:stop].view(kind) for dtype in parts]
                pools.gather(frame.blocks[kind], rows, outs)
    lists: dict[str, np.ndarray | Ragged] = {}
    for column in layout.lists:
        ragged = _concat([_gather_list(frame.lists[column.name], rows) for frame, rows in pieces])
        lists[column.name] = _pad(ragged, column) if layout.pad else ragged
    return Batch(blocks, lists, vectors)


def _gather_list(column: Ragged, rows: Rows) -> Ragged:
    values, offsets = column.values, column.offsets
    if isinstance(rows, slice):
        offsets = offsets[rows.start : rows.stop + 1]
        return Ragged(values[offsets[0] : offsets[-1]], offsets - offsets[0])
    starts, lengths = offsets[rows], offsets[rows + 1] - offsets[rows]
    out = np.concatenate([[0], np.cumsum(lengths)])
    return Ragged(pools.gather_lists(values, starts, out), out)


def _pad(ragged: Ragged, column: Column) -> np.ndarray:
    """(rows, max hotness), short rows filled up with 0."""
    lengths = np.diff(ragged.offsets)
    width = max_hotness(column)
    if len(lengths):
        check_hotness(column, lengths.max())
    out = aligned.empty((len(lengths), width), ragged.values.dtype)
    out[:] = 0
    out[np.arange(width) < lengths[:, None]] = ragged.values
    return out


def max_hotness(column: Column) -> int:
    """How wide a list column is when padded."""
    if column.hotness is None:
        raise SchemaError(
            f"list column {column.name!r} cannot be padded: the schema does not say its hotness; "
            'add it to the schema, or pass lists="ragged"'
        )
    return column.hotness.max


def check_hotness(column: Column, longest: int) -> None:
    """Whether a row of so many elements fits when padded. Raises `ValueError`."""
    if longest > (width := max_hotness(column)):
        raise ValueError(
            f"list column {column.name!r} has a row of {longest} elements, the schema says at most {width}: "
            'such a row does not fit when padded; lists="ragged" takes any length'
        )
