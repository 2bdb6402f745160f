"""A checkpoint's manifest: which file has which rows and columns of which table.

The manifest is written last and replaces the earlier one in one step. Each save has a folder of its own for the
other files, so until then the earlier checkpoint is complete.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from kerasrec._version import __version__
from kerasrec.files import flush_folder, lock, write_aside
from kerasrec.files.leftovers import LOCK, is_partial
from kerasrec.files.readable import check_checksum, read_json, with_checksum
from kerasrec.parallel.checkpoint import safetensors_io

FORMAT = 1
NAME = "manifest.json"
FOLDER = "save-"


@dataclass(frozen=True)
class File:
    """One file; its path is relative to the checkpoint's folder."""

    file: str
    bytes: int
    crc32: int

    def __post_init__(self) -> None:
        if Path(self.file).is_absolute() or ".." in Path(self.file).parts:
            raise ValueError(f"file must be within the checkpoint's folder; got {self.file!r}")


@dataclass(frozen=True)
class ShardFile(File):
    """A file with some rows and columns of a table, and what an optimizer keeps for them.

    Args:
        rows: of the table: the start, stop and step of a range.
        columns: of the table: the first, and the one after the last.
    """

    rows: tuple[int, int, int]
    columns: tuple[int, int]


@dataclass(frozen=True)
class SavedTable:
    """A table in a checkpoint.

    Args:
        optimizer: the class of the optimizer whose state was saved; None if none was.
        arrays: the full shape and the dtype of the table and of each array that the optimizer keeps for it.
        files: the shards.
    """

    optimizer: str | None
    arrays: dict[str, dict[str, Any]]
    files: tuple[ShardFile, ...]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {key: tuple(array["shape"]) for key, array in self.arrays.items()}


@dataclass(frozen=True)
class Manifest:
    """What a save wrote.

    Args:
        save: its mark, which every file has as well.
        tables: by name.
        dense: the file of everything else; None if tables alone were saved.
    """

    save: str
    tables: dict[str, SavedTable]
    dense: File | None

    def write(self, folder: Path, **versions: str) -> None:
        """Make this save the folder's checkpoint, and remove what earlier or interrupted saves left there."""
        content = {"format": FORMAT, "kerasrec": __version__, **versions, **asdict(self)}
        flush_folder(folder / f"{FOLDER}{self.save}")
        flush_folder(folder)
        with write_aside(folder / NAME) as aside:
            aside.write_text(json.dumps(with_checksum(content), indent=1) + "\n", encoding="utf-8")
        for other in folder.iterdir():
            if other.name != FOLDER + self.save and _is_save(other):
                shutil.rmtree(other, ignore_errors=True)


def read(folder: Path) -> Manifest:
    """Return the manifest of the checkpoint in a folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, of a later format, or not a manifest.
    """
    path = folder / NAME
    try:
        content = read_json(path)
        version = content["format"]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{folder} is not a checkpoint: there is no {path}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path} is not a checkpoint's manifest: {error!r}") from error
    if version is True or version != FORMAT:
        raise ValueError(
            f"{path} has format {version!r}, but kerasrec {__version__} reads format {FORMAT}; upgrade kerasrec"
        )
    try:
        manifest = _manifest(content)
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise ValueError(f"{path} is not a checkpoint's manifest: {error!r}") from error
    check_checksum(content, path)
    return manifest


def _manifest(content: Mapping[str, Any]) -> Manifest:
    """Return the manifest; one of a few exceptions says that something is missing, mistyped or contradictory."""
    save, dense = content["save"], content["dense"]
    _expect(isinstance(save, str) and re.fullmatch("[0-9a-f]{12}", save), "save", save)
    tables = {name: _table(name, table, save) for name, table in content["tables"].items()}
    return Manifest(save, tables, None if dense is None else _file(File, dense, save))


def _table(name: str, content: Mapping[str, Any], save: str) -> SavedTable:
    optimizer, arrays = content["optimizer"], content["arrays"]
    _expect(optimizer is None or isinstance(optimizer, str), "optimizer", optimizer)
    for key, array in arrays.items():
        _expect(key == name or key.startswith(f"{name}/"), "an array's name", key)
        _expect(_are_counts(array["shape"], 2) and safetensors_io.is_known(array["dtype"]), key, array)
    rows, columns = arrays[name]["shape"]
    files = tuple(_file(ShardFile, file, save) for file in content["files"])
    for file in files:
        _expect(_are_counts(file.rows, 3) and file.rows[2] and max(file.rows[:2]) <= rows, "rows", file)
        _expect(_are_counts(file.columns, 2) and file.columns[0] <= file.columns[1] <= columns, "columns", file)
    return SavedTable(optimizer, arrays, files)


F = TypeVar("F", bound=File)


def _file(kind: type[F], content: Mapping[str, Any], save: str) -> F:
    file = kind(**content)
    folder, _, name = file.file.partition("/")
    _expect(folder == FOLDER + save and name and "/" not in name, "file", file.file)
    _expect(_are_counts((file.bytes, file.crc32), 2), "bytes and crc32", (file.bytes, file.crc32))
    return file


def _are_counts(values: Any, number: int) -> bool:
    """Return whether `values` are so many integers >= 0."""
    listed = isinstance(values, list | tuple) and len(values) == number
    return listed and all(type(value) is int and value >= 0 for value in values)


def _expect(valid: Any, name: str, value: Any) -> None:
    if not valid:
        raise ValueError(f"{name} is {value!r}")


@contextmanager
def claim(folder: Path, *, overwrite: bool) -> Iterator[None]:
    """Keep every other process from saving to a folder while the block runs.

    The folder is made if it is missing, and removed afterwards if it is still empty.

    Raises:
        FileExistsError: as `refuse`, or because another process is saving there.
    """
    refuse(folder, overwrite=overwrite)
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for path in missing:
            flush_folder(path.parent)
        with lock(folder / LOCK, f"{folder}: another process is saving a checkpoint there"):
            refuse(folder, overwrite=overwrite)  # one may have been saved since
            yield
    finally:
        if missing:
            with suppress(OSError):
                folder.rmdir()


def refuse(folder: Path, *, overwrite: bool) -> None:
    """Raise `FileExistsError` if the folder has a checkpoint that may not be replaced, or other files."""
    if not folder.exists():
        return
    if not folder.is_dir() or _other_files(folder):
        raise FileExistsError(f"{folder} exists and is not a checkpoint; choose another path, or remove it")
    if not (folder / NAME).exists():
        return
    if not overwrite:
        raise FileExistsError(f"{folder} exists; choose another path, remove it, or pass overwrite=True")
    try:
        read(folder)
    except ValueError as error:
        raise FileExistsError(
            f"{folder} exists and is not a checkpoint; choose another path, or remove it. {error}"
        ) from error


def _other_files(folder: Path) -> list[str]:
    """Return the files of a folder without a manifest that no save left there."""
    names = os.listdir(folder)
    left = [name for name in names if is_partial(name) or name == LOCK or _is_save(folder / name)]
    return [] if NAME in names else sorted(set(names) - set(left))


def _is_save(folder: Path) -> bool:
    """Return whether a save made a folder: its name and all of its files must say so."""
    if not re.fullmatch(f"{FOLDER}[0-9a-f]{{12}}", folder.name) or folder.is_symlink() or not folder.is_dir():
        return False
    return all(file.suffix == ".safetensors" and file.is_file() for file in folder.iterdir())
