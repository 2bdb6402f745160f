"""Reads a rank's rows out of a checkpoint's files, whichever ranks wrote them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import keras
import numpy as np

from kerasrec.parallel import comm
from kerasrec.parallel.checkpoint import manifest, safetensors_io
from kerasrec.parallel.checkpoint.dense_state import check_dense
from kerasrec.parallel.checkpoint.local_tables import LocalArray, LocalTable, local_tables
from kerasrec.parallel.checkpoint.manifest import File, Manifest, SavedTable, ShardFile
from kerasrec.parallel.checkpoint.safetensors_io import StoredArray
from kerasrec.typing import Optimizer


class Reader:
    """A checkpoint to read from.

    Args:
        path: its folder.
        saved: its manifest.
    """

    def __init__(self, path: Path, saved: Manifest):
        self.path, self.saved = path, saved
        self._headers: dict[str, dict[str, StoredArray]] = {}

    def check(
        self, model: keras.Model, optimizer: Optimizer | None, dense: bool, tables_required: bool = True
    ) -> dict[str, LocalTable]:
        """Check this rank's share of the files, and everything against the model; return the model's tables.

        Raises:
            FileNotFoundError, ValueError: a file that is missing or damaged, or a checkpoint that does not fit.
        """
        tables = local_tables(model, optimizer, required=tables_required)
        for table in tables.values():
            self._check_table(table)
        shards = [(name, file) for name in tables for file in self.saved.tables[name].files]
        files: list[tuple[str, File]] = [*shards]
        if dense and self.saved.dense is not None:
            files.append(("", self.saved.dense))
        for name, file in files[comm.rank() :: comm.size()]:
            safetensors_io.check(self.path / file.file, self.saved.save, file.bytes, file.crc32)
            if isinstance(file, ShardFile):
                self._check_shard(self.saved.tables[name], name, file)
        if dense:
            check_dense(*self.dense, model, optimizer)
        return tables

    def _check_table(self, table: LocalTable) -> None:
        name, shapes = table.name, table.full_shapes
        if name not in self.saved.tables:
            raise ValueError(
                f"no table {name!r} in {self.path}; available: {', '.join(sorted(self.saved.tables))}"
            )
        saved = self.saved.tables[name]
        if saved.shapes.get(name) != shapes[name]:
            raise ValueError(
                f"table {name!r} is {saved.shapes.get(name)} in {self.path}, but {shapes[name]} in the model"
            )
        if table.optimizer is not None and saved.shapes != shapes:
            raise ValueError(
                f"table {name!r} was saved in {self.path} with the state of {saved.optimizer}, "
                f"{_slots(name, saved.shapes)}, but the model's {table.optimizer} keeps {_slots(name, shapes)}. "
                "Compile with the same optimizer, or pass optimizer=False to restore the weights alone"
            )
        numbers = sum(len(range(*file.rows)) * (file.columns[1] - file.columns[0]) for file in saved.files)
        if numbers != math.prod(shapes[name]):
            raise ValueError(
                f"the files that {self.path / manifest.NAME} lists for table {name!r} have {numbers} numbers; "
                f"expected {math.prod(shapes[name])}"
            )

    def _check_shard(self, saved: SavedTable, name: str, file: ShardFile) -> None:
        """Raise `ValueError` if a file does not have the arrays that the manifest says it has."""
        stored = self._arrays(file)
        for key, full_shape in saved.shapes.items():
            as_wide = full_shape[1] == saved.shapes[name][1]
            columns = file.columns[1] - file.columns[0] if as_wide else full_shape[1]
            expected = (saved.arrays[key]["dtype"], (len(range(*file.rows)), columns))
            actual = (stored[key].dtype, stored[key].shape) if key in stored else None
            if actual != expected:
                raise ValueError(
                    f"{self.path / file.file} has {key!r} as {actual}; expected {expected}, as "
                    f"{self.path / manifest.NAME} says"
                )

    @property
    def dense(self) -> tuple[Path, dict[str, StoredArray]]:
        """The dense file, and its arrays by name."""
        file = self.saved.dense
        assert file is not None
        return self.path / file.file, self._arrays(file)

    def _arrays(self, file: File) -> dict[str, StoredArray]:
        if file.file not in self._headers:
            self._headers[file.file] = safetensors_io.open_file(self.path / file.file, self.saved.save, file.bytes)
        return self._headers[file.file]

    def blocks(self, table: str, key: str, array: LocalArray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield this rank's rows of an array, and the first one's place in its variable, some 16 MiB at a time.

        Only the rows and columns that this rank has are read out of the files.
        """
        saved = self.saved.tables[table]
        as_wide = array.full_shape[1] == saved.shapes[table][1]  # then it is cut by columns as the table is
        for start, stop in array.spans():
            rows = array.rows[start:stop]
            values = np.empty((len(rows), array.shape[1]), saved.arrays[key]["dtype"])
            for file in saved.files:
                file_columns = file.columns if as_wide else (0, array.full_shape[1])
                in_both = common(rows, range(*file.rows))
                first, last = max(array.columns[0], file_columns[0]), min(array.columns[1], file_columns[1])
                if not in_both or first >= last:
                    continue
                in_file = _places(in_both, range(*file.rows))
                columns = slice(first - file_columns[0], last - file_columns[0])
                block = safetensors_io.read(self.path / file.file, self._arrays(file)[key], in_file, columns)
                values[_places(in_both, rows), first - array.columns[0] : last - array.columns[0]] = block
            yield array.first + start, values


def common(one: range, other: range) -> range:
    """Return the numbers that are in both of two rising ranges."""
    step = int(np.lcm(one.step, other.step))
    candidates = one[: step // one.step] if one and other else range(0)
    if one and other and one.start < other.start:
        skipped = -(-(other.start - one.start) // one.step)
        candidates = one[skipped : skipped + step // one.step]
    first = next((number for number in candidates if number in other), None)
    return range(0) if first is None else range(first, min(one.stop, other.stop), step)


def _places(numbers: range, all_numbers: range) -> slice:
    """Return where the numbers of a range are in another range that has all of them."""
    first, last = all_numbers.index(numbers[0]), all_numbers.index(numbers[-1])
    return slice(first, last + 1, numbers.step // all_numbers.step)


def _slots(table: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what an optimizer keeps for a table, without the table's own."""
    return {key: shape for key, shape in shapes.items() if key != table}
