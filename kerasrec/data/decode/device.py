"""`frames` once more, for columns that something else has decoded into another memory.

All but the decoding is done with an array module `xp` that has NumPy's functions: CuPy on a GPU, NumPy itself in
tests, where the results are those of `frames`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from kerasrec.data.decode.arrow import Batch, Frame, Layout, Ragged, Rows, check_hotness, max_hotness
from kerasrec.data.files.checks import check_ids, check_nan, check_nulls, check_weights, check_width, exact
from kerasrec.data.files.discovery import Chunk
from kerasrec.data.files.versions import check_checksums, check_version
from kerasrec.schema import Column, Tag


@dataclass(frozen=True)
class Decoded:
    """A column of whole row groups of a file.

    Args:
        values: (rows,), or of a list column the elements of all rows; in the file's own type.
        nulls: how many of them are null.
        offsets: of a list column, (rows + 1,): row i is `values[offsets[i]:offsets[i + 1]]`; a null list is empty.
    """

    values: Any
    nulls: int
    offsets: Any = None


STEP = 512  # bytes; every framework takes memory that starts at multiples of it
LENT = 8  # batches that are kept before the device is waited for
Decode = Callable[[Path, list[int], list[Column]], dict[str, Decoded]]  # a file, row groups, columns -> by name


class DeviceFrames:
    """An `Engine` on arrays of `xp`.

    Args:
        xp: an array module with NumPy's functions.
        decode: makes arrays of `xp` out of row groups of a file.
        wide: gather int32 as int64. TensorFlow keeps int32 inputs of a compiled step in the host's memory, on a
            GPU too; those of 64 bits stay where they are.
    """

    def __init__(self, xp: Any, decode: Decode, wide: bool = False):
        self.xp, self.decode = xp, decode
        self._dtypes = {"int32": "int64"} if wide else {}

    def read(self, chunks: Sequence[Chunk], layout: Layout, permute: bool) -> Frame:
        total = sum(chunk.rows for chunk in chunks)
        order = "C" if permute else "F"
        blocks = {d: self.xp.empty((total, len(names)), d, order) for d, names in layout.blocks.items()}
        lists: dict[str, list[Ragged]] = {column.name: [] for column in layout.lists}
        vectors: dict[str, list[Any]] = {name: [] for name in layout.vectors}
        start = 0
        for (path, _), group in groupby(chunks, lambda c: (c.path, None if c.start is None else c.row_group)):
            neighbours = list(group)
            unchecked = frozenset().union(*(chunk.unchecked for chunk in neighbours))
            first = neighbours[0].start or 0
            rows = slice(first, first + sum(chunk.rows for chunk in neighbours))
            constants = neighbours[0].constants
            held = [column for column in layout.columns if column.name not in constants]
            groups = [chunk.row_group for chunk in neighbours]
            if layout.verify and held and not {(path, each) for each in groups} <= layout.verified:
                check_checksums(path, groups, [column.name for column in held])
            decoded = self.decode(path, groups, held) if held else {}
            check_version(path, neighbours[0].version)
            layout.verified |= {(path, each) for each in groups}
            for column in held:
                found = decoded[column.name]
                check_nulls(column, found.nulls, path)
                decoded[column.name] = replace(found, values=exact(column, found.values, path))
            for column in layout.columns:
                if column.name in constants:
                    value = self.xp.full(rows.stop, constants[column.name], column.dtype)
                    decoded[column.name] = Decoded(value, 0)
            stop = start + rows.stop - rows.start
            by_name = {column.name: column for column in layout.columns}
            for dtype, names in layout.blocks.items():
                part = blocks[dtype][start:stop]
                for place, name in enumerate(names):
                    part[:, place] = decoded[name].values[rows]
                self._check([by_name[name] for name in names], part, path, unchecked)
            for column in layout.lists:
                ragged = self._slice(decoded[column.name], rows)
                if len(ragged.values):
                    self._check([column], ragged.values[:, None], path, unchecked)
                lists[column.name].append(ragged)
            for name, column in layout.vectors.items():
                ragged = self._slice(decoded[name], rows)
                lengths = ragged.offsets[1:] - ragged.offsets[:-1]
                check_width(column, int(lengths.min()), int(lengths.max()), path)
                values = ragged.values.reshape(len(lengths), -1)
                self._check([column] * values.shape[1], values, path, unchecked)
                vectors[name].append(values)
            start = stop
        whole = {name: self.xp.concatenate(parts) for name, parts in vectors.items()}
        return Frame(blocks, {name: self._concat(parts) for name, parts in lists.items()}, whole)

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
            rows_of = xp.concatenate([frame.vectors[name][rows] for frame, rows in moved])
            vectors[name] = rows_of.astype(self._dtypes.get(column.dtype, column.dtype), copy=False)
        return Batch(blocks, lists, vectors)

    def _columns(self, columns: int, rows: int, dtype: str) -> Any:
        """(columns, rows), each column starting at a multiple of `STEP` bytes from the first."""
        kind = np.dtype(self._dtypes.get(dtype, dtype))
        step = STEP // kind.itemsize
        return self.xp.empty((columns, -(-rows // step) * step), kind)[:, :rows]

    def host(self, array: Any) -> np.ndarray:
        return self.xp.asnumpy(array) if hasattr(self.xp, "asnumpy") else array

    def wait(self) -> None:
        """Return when all that was begun on the device is done."""

    def lend(self, batches: Generator[Batch, None, None]) -> Iterator[Batch]:
        lent: list[Batch] = []
        try:
            for batch in batches:
                yield batch
                lent.append(batch)
                if len(lent) == LENT:
                    self.wait()
                    lent.clear()
        finally:
            batches.close()
            self.wait()

    def _check(self, columns: Sequence[Column], values: Any, path: Path, unchecked: frozenset[str]) -> None:
        """One look at (rows, columns): what leaves the device are the columns' least and greatest values."""
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

    def _concat(self, parts: Sequence[Ragged]) -> Ragged:
        if len(parts) == 1:
            return parts[0]
        starts = np.cumsum([0, *(len(part.values) for part in parts)]).tolist()
        offsets = [part.offsets[:-1] + start for part, start in zip(parts, starts, strict=False)]
        end = self.xp.full(1, starts[-1], "int64")
        return Ragged(self.xp.concatenate([part.values for part in parts]), self.xp.concatenate([*offsets, end]))

    def _gather_list(self, column: Ragged, rows: Any) -> Ragged:
        xp = self.xp
        if isinstance(rows, slice):
            part = self._slice(Decoded(column.values, 0, column.offsets), rows)
            return Ragged(part.values.copy(), part.offsets)
        starts, ends = column.offsets[rows], column.offsets[rows + 1]
        offsets = xp.concatenate([xp.zeros(1, "int64"), xp.cumsum(ends - starts)])
        places = xp.arange(int(offsets[-1]))
        row = xp.searchsorted(offsets, places, side="right") - 1
        return Ragged(column.values[(starts - offsets[:-1])[row] + places], offsets)

    def _pad(self, ragged: Ragged, column: Column) -> Any:
        xp, width = self.xp, max_hotness(column)
        starts, lengths = ragged.offsets[:-1], ragged.offsets[1:] - ragged.offsets[:-1]
        if len(lengths):
            check_hotness(column, int(lengths.max()))
        out = xp.zeros((len(lengths), width), ragged.values.dtype)
        if not len(ragged.values):
            return out
        places = xp.arange(width)
        held = ragged.values[xp.minimum(starts[:, None] + places, len(ragged.values) - 1)]
        return xp.where(places < lengths[:, None], held, out)
