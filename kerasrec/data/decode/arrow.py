"""Decoding pools of rows and gathering batches of them on the host, with pyarrow and NumPy."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kerasrec.data.decode.buffers import aligned_empty
from kerasrec.data.decode.layout import (
    Batch,
    BatchColumn,
    Frame,
    Layout,
    Ragged,
    Rows,
    check_hotness,
    max_hotness,
)
from kerasrec.data.files.checks import check_ids, check_nan, check_nulls, check_weights, check_width, exact
from kerasrec.data.files.discovery import Place
from kerasrec.data.files.in_memory import InMemory
from kerasrec.data.files.remote import Remote, RemoteError
from kerasrec.data.files.row_groups import RowGroup
from kerasrec.data.files.versions import check_version
from kerasrec.data.threads import side_by_side
from kerasrec.kernels import pools
from kerasrec.schema import Column, Tag

DECODERS = min(4, os.cpu_count() or 1)  # portions that are decoded at the same time
PORTION_ROWS = 65_536  # row groups with fewer rows are decoded together, up to this number


# ---- decoding a pool ------------------------------------------------------------------------------------------
def read(row_groups: Sequence[RowGroup], layout: Layout, permute: bool) -> Frame:
    """Decode row groups into one frame, in the order given, laid out for reading in order or permuted.

    Small neighbours in a file are decoded together, a row group of which only a part is needed on its own, and
    `DECODERS` of these portions at the same time.

    Raises:
        OSError: a file cannot be read.
        ValueError: nulls, NaNs, or ids outside [0, cardinality); names file and column.
    """
    rows = sum(row_group.rows for row_group in row_groups)
    parts = _block_parts(layout, permute)
    blocks = {
        kind: layout.pools.empty((rows, sum(map(len, names.values()))), kind, "C" if permute else "F")
        for kind, names in parts.items()
    }
    vectors = {
        name: layout.pools.empty((rows, column.width or 0), column.dtype)
        for name, column in layout.vectors.items()
    }

    def fill(portion: tuple[list[RowGroup], int]) -> dict[str, Ragged]:
        neighbours, start = portion
        table = _decode_portion(neighbours, layout)
        unchecked = frozenset().union(*(row_group.unchecked for row_group in neighbours))
        scalars, lists = _convert_columns(table, layout, vectors, start, neighbours[0].path, unchecked)
        for kind, names in parts.items():
            columns = [
                scalars[name].astype(dtype, copy=False).view(kind) for dtype in names for name in names[dtype]
            ]
            block = blocks[kind][start : start + table.num_rows]
            if permute:
                pools.interleave(columns, block)
            else:
                np.stack(columns, axis=1, out=block)
        return lists

    portions = list(_portions(row_groups))
    starts = accumulate((sum(row_group.rows for row_group in portion) for portion in portions[:-1]), initial=0)
    # Arrow decodes on all cores, but the rest of `fill` is the work of one thread per portion.
    lists = side_by_side(fill, zip(portions, starts, strict=True), DECODERS)
    names = [column.name for column in layout.lists]
    return Frame(blocks, {name: _concat([portion[name] for portion in lists]) for name in names}, vectors)


def _block_parts(layout: Layout, permute: bool) -> dict[str, dict[str, list[str]]]:
    """Return the columns of each block: the dtype of its items -> dtype of columns -> names."""
    return layout.rowwise if permute else {dtype: {dtype: names} for dtype, names in layout.blocks.items()}


def _convert_columns(
    table: pa.Table,
    layout: Layout,
    vectors: Mapping[str, np.ndarray],
    start: int,
    path: Place,
    unchecked: frozenset[str],
) -> tuple[dict[str, np.ndarray], dict[str, Ragged]]:
    """Check all columns and write vectors from row `start` on; return the scalar columns and the lists."""
    scalars, lists = {}, {}
    for column in layout.columns:
        array = _contiguous(table[column.name])
        if pa.types.is_null(array.type):
            array = pa.nulls(len(array), pa.list_(pa.null()) if column.is_list else pa.null())
        elements = array.flatten() if column.is_list else array
        check_nulls(column, elements.null_count, path)
        values = exact(column, _numbers(elements, column, path), path)
        _check_values(column, values, path, ids=column.name in unchecked)
        if column.name in vectors:
            lengths = _lengths(array)
            check_width(column, lengths.min(), lengths.max(), path)
            vectors[column.name][start : start + len(lengths)] = values.reshape(len(lengths), -1)
        elif column.is_list:
            lists[column.name] = Ragged(values, _offsets(array))
        else:
            scalars[column.name] = values
    return scalars, lists


def _portions(row_groups: Sequence[RowGroup]) -> Iterator[list[RowGroup]]:
    """Yield row groups to be decoded together, of one file and of few rows.

    Arrow's memory then stays in the cache, and is used again for the next portion.
    """
    portion: list[RowGroup] = []
    for row_group in row_groups:
        if portion and not (
            portion[0].path == row_group.path
            and portion[0].start is row_group.start is None
            and sum(neighbour.rows for neighbour in portion) + row_group.rows <= PORTION_ROWS
        ):
            yield portion
            portion = []
        portion.append(row_group)
    if portion:
        yield portion


def _decode_portion(portion: Sequence[RowGroup], layout: Layout) -> pa.Table:
    """Decode the columns of a portion, with its checksums compared if they were not before."""
    path, first = portion[0].path, portion[0]
    keys = {(path, row_group.index) for row_group in portion}
    table = _decode(portion, layout.columns, layout.verify and not keys <= layout.verified)
    check_version(path, first.version)
    layout.verified |= keys
    return table.slice(first.start or 0, sum(row_group.rows for row_group in portion))


def _decode(portion: Sequence[RowGroup], columns: Sequence[Column], verify: bool) -> pa.Table:
    """Decode columns of whole row groups of one file; `verify` compares the checksums of their pages."""
    path, constants, indices = portion[0].path, portion[0].constants, [row_group.index for row_group in portion]
    names = [column.name for column in columns if column.name not in constants]
    try:
        if isinstance(path, InMemory):
            table = path.read_row_groups(indices, names)
        elif isinstance(path, Remote):
            table = path.read_row_groups(indices, names, verify)
        else:
            with pq.ParquetFile(path, page_checksum_verification=verify) as file:
                table = file.read_row_groups(indices, columns=names)
    except Exception as error:  # Arrow raises many types for what a damaged file may contain
        with suppress(RemoteError, FileNotFoundError):
            check_version(path, portion[0].version)
        if isinstance(error, RemoteError):
            raise
        raise OSError(f"{path}: cannot be read: {error}") from error
    rows = sum(row_group.rows for row_group in portion)
    if portion[0].start is None and table.num_rows != rows:
        raise OSError(
            f"{path}: the file is damaged: row groups with {rows:,} rows in the footer contain {table.num_rows:,}"
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
    """Return the length of each row's list. A null list is an empty list."""
    return array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)


def _offsets(array: pa.Array) -> np.ndarray:
    """Return where each row's elements start in `array.flatten()`, and the end."""
    return np.concatenate([[0], np.cumsum(_lengths(array), dtype="int64")])


def _concat(parts: Sequence[Ragged]) -> Ragged:
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(part.values) for part in parts)])
    offsets = [part.offsets[1:] + start for part, start in zip(parts, starts, strict=False)]
    return Ragged(np.concatenate([part.values for part in parts]), np.concatenate([[0], *offsets]))


# ---- gathering a batch ----------------------------------------------------------------------------------------
def gather(pieces: Sequence[tuple[Frame, Rows]], layout: Layout) -> Batch:
    """Gather one batch from the given rows of one or several frames, in the order given.

    Raises:
        ValueError: a list to pad has more elements than the schema's max hotness.
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
            for kind, names in layout.rowwise.items():
                outs = [blocks[dtype][:, start:stop].view(kind) for dtype in names]
                pools.gather(frame.blocks[kind], rows, outs)
    lists: dict[str, BatchColumn] = {}
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
    """Return (rows, max hotness), with short rows filled up with 0."""
    lengths = np.diff(ragged.offsets)
    width = max_hotness(column)
    if len(lengths):
        check_hotness(column, lengths.max())
    out = aligned_empty((len(lengths), width), ragged.values.dtype)
    out[:] = 0
    out[np.arange(width) < lengths[:, None]] = ragged.values
    return out
