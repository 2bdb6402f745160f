"""Picks a rank's rows out of a checkpoint's files, whoever wrote them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasrec.parallel import comm
from kerasrec.parallel.checkpoint import manifest, safetensors_io
from kerasrec.parallel.checkpoint.dense_state import check_dense
from kerasrec.parallel.checkpoint.local_tables import Held, HeldTable, tables_of
from kerasrec.parallel.checkpoint.manifest import File, Manifest, Shard
from kerasrec.parallel.checkpoint.safetensors_io import Found


class Reader:
    """A checkpoint that is read: its manifest, and the headers of the files this rank looked into."""

    def __init__(self, path: Path, saved: Manifest):
        self.path, self.saved = path, saved
        self._headers: dict[str, dict[str, Found]] = {}

    def check(
        self, model: keras.Model, optimizer: Any, dense: bool, tables_needed: bool = True
    ) -> dict[str, HeldTable]:
        """The model's tables, once all of this rank's share of the checks is well."""
        tables = tables_of(model, optimizer, needed=tables_needed)
        for table in tables.values():
            self._check_table(table)
        shards = {file.file: name for name in tables for file in self.saved.tables[name].files}
        files: list[File] = [file for name in tables for file in self.saved.tables[name].files]
        files += [self.saved.dense] if dense and self.saved.dense is not None else []
        for file in files[comm.rank() :: comm.size()]:
            safetensors_io.check(self.path / file.file, self.saved.save, file.bytes, file.crc32)
            if isinstance(file, Shard):
                self._check_shard(shards[file.file], file)
        if dense:
            check_dense(*self.dense, model, optimizer)
        return tables

    def _check_table(self, table: HeldTable) -> None:
        name, shapes = table.name, table.shapes
        if name not in self.saved.tables:
            raise ValueError(f"{self.path} has no table {name!r}; it has {sorted(self.saved.tables)}")
        saved = self.saved.tables[name]
        there = saved.shapes
        if there.get(name) != shapes[name]:
            raise ValueError(
                f"table {name!r} is {there.get(name)} in {self.path}, but {shapes[name]} in the model"
            )
        if table.optimizer is not None and there != shapes:
            raise ValueError(
                f"table {name!r} was saved in {self.path} with the state of {saved.optimizer}, "
                f"{_without(name, there)}, but the model's {table.optimizer} keeps {_without(name, shapes)}. "
                "Compile with the same optimizer, or pass optimizer=False to restore the weights alone"
            )
        numbers = sum(len(range(*file.rows)) * (file.columns[1] - file.columns[0]) for file in saved.files)
        if numbers != math.prod(shapes[name]):
            raise ValueError(f"the files that {self.path / manifest.NAME} lists do not make up table {name!r}")

    def _check_shard(self, name: str, file: Shard) -> None:
        """Raise `ValueError` where a file does not have the arrays that the manifest says it has."""
        saved, found = self.saved.tables[name], self._found(file)
        for key, whole in saved.shapes.items():
            columns = file.columns[1] - file.columns[0] if whole[1] == saved.shapes[name][1] else whole[1]
            expected = len(range(*file.rows)), columns
            there = found.get(key)
            if there is None or there.shape != expected or there.dtype != saved.arrays[key]["dtype"]:
                raise ValueError(
                    f"{self.path / file.file} has {key!r} as {there and (there.dtype, there.shape)}, "
                    f"but {(saved.arrays[key]['dtype'], expected)} by {self.path / manifest.NAME}"
                )

    @property
    def dense(self) -> tuple[Path, dict[str, Found]]:
        file = self.saved.dense
        assert file is not None
        return self.path / file.file, self._found(file)

    def _found(self, file: File) -> dict[str, Found]:
        if file.file not in self._headers:
            self._headers[file.file] = safetensors_io.open_file(self.path / file.file, self.saved.save, file.bytes)
        return self._headers[file.file]

    def blocks(self, table: str, key: str, held: Held) -> Iterator[tuple[int, np.ndarray]]:
        """The rows of an array that this rank holds, and only these, out of the files that have them."""
        saved = self.saved.tables[table]
        cut = held.whole[1] == saved.shapes[table][1]  # by columns, as the table is
        for start, stop in held.spans():
            wanted = held.rows[start:stop]
            values = np.empty((len(wanted), held.shape[1]), saved.arrays[key]["dtype"])
            for file in saved.files:
                there = range(*file.rows)
                both = common(wanted, there)
                columns = file.columns if cut else (0, held.whole[1])
                first, last = max(held.columns[0], columns[0]), min(held.columns[1], columns[1])
                if not both or first >= last:
                    continue
                mine, theirs = _places(both, wanted), _places(both, there)
                part = slice(first - columns[0], last - columns[0])
                rows = safetensors_io.read(self.path / file.file, self._found(file)[key], theirs, part)
                values[mine, first - held.columns[0] : last - held.columns[0]] = rows
            yield held.first + start, values


def common(one: range, other: range) -> range:
    """The numbers that are in both of two rising ranges."""
    step = int(np.lcm(one.step, other.step))
    candidates = one[: step // one.step] if one and other else range(0)
    if one and other and one.start < other.start:
        skipped = -(-(other.start - one.start) // one.step)
        candidates = one[skipped : skipped + step // one.step]
    first = next((number for number in candidates if number in other), None)
    return range(0) if first is None else range(first, min(one.stop, other.stop), step)


def _places(some: range, of: range) -> slice:
    """Where the numbers of a range stand in another that has them all."""
    first, last = of.index(some[0]), of.index(some[-1])
    return slice(first, last + 1, some.step // of.step)


def _without(name: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {key: shape for key, shape in shapes.items() if key != name}
