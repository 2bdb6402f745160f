"""Gathering as in `arrow`, for columns that were decoded into the memory of a device.

Everything but decoding uses an array module `xp` with NumPy's functions: CuPy on a GPU, NumPy itself in tests,
where the results are those of `arrow`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from kerasrec.data.decode.layout import Batch, Frame, Layout, Ragged, Rows, check_hotness, max_hotness
from kerasrec.data.files.checks import check_ids, check_nan, check_nulls, check_weights, check_width, exact
from kerasrec.data.files.row_groups import RowGroup
from kerasrec.data.files.versions import check_checksums, check_version
from kerasrec.schema import Column, Tag

Array: TypeAlias = Any  # of `xp`
STEP = 512  # bytes; every framework accepts memory that starts at multiples of it
KEPT = 8  # batches that are kept before the device is waited for


@dataclass(frozen=True)
class Decoded:
    """A column of whole row groups of a file.

    Args:
        values: (rows,), or for a list column the elements of all rows; in the file's own type.
        nulls: the number of nulls among them.
        offsets: for a list column, (rows + 1,): row i is `values[offsets[i]:offsets[i + 1]]`; a null list is
            empty.
    """

    values: Array
    nulls: int
    offsets: Array = None


Decode = Callable[[Path, list[int], list[Column]], dict[str, Decoded]]  # file, row groups, columns -> by name


class DeviceFrames:
    """An `Engine` on arrays of `xp`.

    Args:
        xp: an array module with NumPy's functions.
        decode: decodes row groups of a file into arrays of `xp`.
        wide: whether to gather int32 as int64. TensorFlow keeps int32 inputs of a compiled step in the host's
            memory even on a GPU, but not int64.
    """

    def __init__(self, xp: Any, decode: Decode, wide: bool = False):
        self.xp, self.decode = xp, decode
        self._dtypes = {"int32": "int64"} if wide else {}

    # ---- decoding a pool -----------------------------------------------------------------------------------
    def read(self, row_groups: Sequence[RowGroup], layout: Layout, permute: bool) -> Frame:
        rows = sum(row_group.rows for row_group in row_groups)
        order = "C" if permute else "F"
        blocks = {d: self.xp.empty((rows, len(names)), d, order) for d, names in layout.blocks.items()}
        lists: dict[str, list[Ragged]] = {column.name: [] for column in layout.lists}
        vectors: dict[str, list[Array]] = {name: [] for name in layout.vectors}
        columns = {column.name: column for column in layout.columns}
        start = 0
        for _, group in groupby(row_groups, lambda r: (r.path, None if r.start is None else r.index)):
            portion = list(group)
            path = _local(portion[0])
            unchecked = frozenset().union(*(row_group.unchecked for row_group in portion))
            first = portion[0].start or 0
            part = slice(first, first + sum(row_group.rows for row_group in portion))
            decoded = self._decode_portion(portion, part.stop, layout)
            stop = start + part.stop - part.start
            for dtype, names in layout.blocks.items():
                block = blocks[dtype][start:stop]
                for position, name in enumerate(names):
                    block[:, position] = decoded[name].values[part]
                self._check([columns[name] for name in names], block, path, unchecked)
            for column in layout.lists:
                ragged = self._slice(decoded[column.name], part)
                if len(ragged.values):
                    self._check([column], ragged.values[:, None], path, unchecked)
                lists[column.name].append(ragged)
            for name, column in layout.vectors.items():
                ragged = self._slice(decoded[name], part)
                lengths = ragged.offsets[1:] - ragged.offsets[:-1]
                check_width(column, int(lengths.min()), int(lengths.max()), path)
                values = ragged.values.reshape(len(lengths), -1)
                self._check([column] * values.shape[1], values, path, unchecked)
                vectors[name].append(values)
            start = stop
        joined = {name: self.xp.concatenate(parts) for name, parts in vectors.items()}
        return Frame(blocks, {name: self._concat(parts) for name, parts in lists.items()}, joined)

    def _decode_portion(self, portion: Sequence[RowGroup], rows: int, layout: Layout) -> dict[str, Decoded]:
        """Decode all columns of a portion, with its checksums compared if they were not before."""
        path, constants = _local(portion[0]), portion[0].constants
        stored = [column for column in layout.columns if column.name not in constants]
        indices = [row_group.index for row_group in portion]
        keys = {(path, index) for index in indices}
        if layout.verify and stored and not keys <= layout.verified:
            check_checksums(path, indices, [column.name for column in stored])
        decoded = self.decode(path, indices, stored) if stored else {}
        check_version(path, portion[0].version)
        layout.verified |= keys
        for column in stored:
            raw = decoded[column.name]
            check_nulls(column, raw.nulls, path)
            decoded[column.name] = replace(raw, values=exact(column, raw.values, path))
        for column in layout.columns:
            if column.name in constants:
                decoded[column.name] = Decoded(self.xp.full(rows, constants[column.name], column.dtype), 0)
        return decoded

    def _check(self, columns: Sequence[Column], values: Array, path: Path, unchecked: frozenset[str]) -> None:
        """Check (rows, columns) at once: only the columns' least and greatest values leave the device."""
        floats = values.dtype.kind == "f"
        if not floats and not any(c.name in unchecked or Tag.WEIGHT in c.tags for c in columns):
            return
        low, high = self.host(values.min(axis=0)).tolist(), self.host(values.max(axis=0)).tolist()
        for column, least, greatest in zip(columns, low, high, strict=True):
            if column.name in unchecked:
                check_ids(column, least, greatest, path)
            if floats:
                check_nan(column, least, path)
            if Tag.WEIGHT in column.tags:
                check_weights(column, least, greatest, path)

    def _slice(self, decoded: Decoded, rows: slice) -> Ragged:
        offsets = decoded.offsets[rows.start : rows.stop + 1].astype("int64")
        begin, end = self.host(offsets[:: len(offsets) - 1]).tolist()
        return Ragged(decoded.values[begin:end], offsets - begin)

    # ---- gathering a batch ---------------------------------------------------------------------------------
    def gather(self, pieces: Sequence[tuple[Frame, Rows]], layout: Layout) -> Batch:
        xp = self.xp
        moved = [(frame, rows if isinstance(rows, slice) else xp.asarray(rows)) for frame, rows in pieces]
        sizes = [rows.stop - rows.start if isinstance(rows, slice) else len(rows) for _, rows in pieces]
        bounds = np.cumsum([0, *sizes]).tolist()
        blocks = {dtype: self._columns(len(names), bounds[-1], dtype) for dtype, names in layout.blocks.items()}
        for (frame, rows), start, stop in zip(moved, bounds, bounds[1:], strict=False):
            for dtype, block in blocks.items():
                block[:, start:stop] = frame.blocks[dtype][rows].T
        lists: dict[str, Any] = {}
        for column in layout.lists:
            ragged = self._concat([self._gather_list(frame.lists[column.name], rows) for frame, rows in moved])
            values = ragged.values.astype(self._dtypes.get(column.dtype, column.dtype), copy=False)
            ragged = Ragged(values, ragged.offsets)
            lists[column.name] = self._pad(ragged, column) if layout.pad else ragged
        vectors = {}
        for name, column in layout.vectors.items():
            values = xp.concatenate([frame.vectors[name][rows] for frame, rows in moved])
            vectors[name] = values.astype(self._dtypes.get(column.dtype, column.dtype), copy=False)
        return Batch(blocks, lists, vectors)

    def _columns(self, columns: int, rows: int, dtype: str) -> Array:
        """Return an array (columns, rows), each column starting at a multiple of `STEP` bytes from the first."""
        wide = np.dtype(self._dtypes.get(dtype, dtype))
        step = STEP // wide.itemsize
        return self.xp.empty((columns, -(-rows // step) * step), wide)[:, :rows]

    def _concat(self, parts: Sequence[Ragged]) -> Ragged:
        if len(parts) == 1:
            return parts[0]
        starts = np.cumsum([0, *(len(part.values) for part in parts)]).tolist()
        offsets = [part.offsets[:-1] + start for part, start in zip(parts, starts, strict=False)]
        end = self.xp.full(1, starts[-1], "int64")
        return Ragged(self.xp.concatenate([part.values for part in parts]), self.xp.concatenate([*offsets, end]))

    def _gather_list(self, column: Ragged, rows: slice | Array) -> Ragged:
        xp = self.xp
        if isinstance(rows, slice):
            part = self._slice(Decoded(column.values, 0, column.offsets), rows)
            return Ragged(part.values.copy(), part.offsets)
        starts, ends = column.offsets[rows], column.offsets[rows + 1]
        offsets = xp.concatenate([xp.zeros(1, "int64"), xp.cumsum(ends - starts)])
        positions = xp.arange(int(offsets[-1]))
        row = xp.searchsorted(offsets, positions, side="right") - 1
        return Ragged(column.values[(starts - offsets[:-1])[row] + positions], offsets)

    def _pad(self, ragged: Ragged, column: Column) -> Array:
        xp, width = self.xp, max_hotness(column)
        starts, lengths = ragged.offsets[:-1], ragged.offsets[1:] - ragged.offsets[:-1]
        if len(lengths):
            check_hotness(column, int(lengths.max()))
        out = xp.zeros((len(lengths), width), ragged.values.dtype)
        if not len(ragged.values):
            return out
        positions = xp.arange(width)
        values = ragged.values[xp.minimum(starts[:, None] + positions, len(ragged.values) - 1)]
        return xp.where(positions < lengths[:, None], values, out)

    # ---- handing batches over ------------------------------------------------------------------------------
    def host(self, array: Array) -> np.ndarray:
        return self.xp.asnumpy(array) if hasattr(self.xp, "asnumpy") else array

    def wait(self) -> None:
        """Wait until everything that was started on the device is done."""

    def keep_while_used(self, batches: Generator[Batch, None, None]) -> Iterator[Batch]:
        kept: list[Batch] = []
        try:
            for batch in batches:
                yield batch
                kept.append(batch)
                if len(kept) == KEPT:
                    self.wait()
                    kept.clear()
        finally:
            batches.close()
            self.wait()


def _local(row_group: RowGroup) -> Path:
    assert isinstance(row_group.path, Path)  # `Loader` refuses others for a device
    return row_group.path
