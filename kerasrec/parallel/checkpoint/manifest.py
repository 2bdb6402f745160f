"""A checkpoint's manifest: which file has which rows and columns of which table.

The manifest is written last and replaces the one that stood there in one step. Each save has a folder of its own
for the other files, so until then the earlier checkpoint is whole.
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
    """One file; its path is relative to the checkpoint's."""

    file: str
    bytes: int
    crc32: int

    def __post_init__(self) -> None:
        if Path(self.file).is_absolute() or ".." in Path(self.file).parts:
            raise ValueError(f"a manifest names {self.file!r}, which is outside of its checkpoint's folder")


@dataclass(frozen=True)
class Shard(File):
    """A file with some rows and columns of a table, and what an optimizer keeps for them."""

    rows: tuple[int, int, int]  # of a range
    columns: tuple[int, int]


@dataclass(frozen=True)
class SavedTable:
    """A table: the class of its optimizer if that was saved, each whole array's shape and dtype, the shards."""

    optimizer: str | None
    arrays: dict[str, dict[str, Any]]
    files: tuple[Shard, ...]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {key: tuple(each["shape"]) for key, each in self.arrays.items()}


@dataclass(frozen=True)
class Manifest:
    """`save` is written into every file as well; `dense` is None where tables alone were saved."""

    save: str
    tables: dict[str, SavedTable]
    dense: File | None

    def write(self, folder: Path, **versions: str) -> None:
        """Make this save the folder's checkpoint, and remove what earlier ones, or ones cut off, left."""
        facts = {"format": FORMAT, "kerasrec": __version__, **versions, **asdict(self)}
        flush_folder(folder / f"{FOLDER}{self.save}")
        flush_folder(folder)
        with write_aside(folder / NAME) as aside:
            aside.write_text(json.dumps(with_checksum(facts), indent=1) + "\n", encoding="utf-8")
        for other in folder.iterdir():
            if other.name != FOLDER + self.save and _is_save(other):
                shutil.rmtree(other, ignore_errors=True)


def read(folder: Path) -> Manifest:
    """The manifest of the checkpoint in a folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, of a later format, or not what this file writes.
    """
    path = folder / NAME
    try:
        facts = read_json(path)
        version = facts["format"]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{folder} is no checkpoint of tables: there is no {path}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path} is not what save_tables writes: {error!r}") from error
    if version is True or version != FORMAT:
        raise ValueError(f"{path} is of format {version}; this kerasrec {__version__} reads format {FORMAT}")
    try:
        found = _manifest(facts)
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise ValueError(f"{path} is not what save_tables writes: {error!r}") from error
    check_checksum(facts, path)
    return found


def _manifest(facts: Mapping[str, Any]) -> Manifest:
    """Raises one of a few exceptions where something is missing, of another type or contradicts something else."""
    save, dense = facts["save"], facts["dense"]
    _expect(isinstance(save, str) and re.fullmatch("[0-9a-f]{12}", save), "save", save)
    tables = {name: _table(name, each, save) for name, each in facts["tables"].items()}
    return Manifest(save, tables, None if dense is None else _file(File, dense, save))


def _table(name: str, facts: Mapping[str, Any], save: str) -> SavedTable:
    optimizer, arrays = facts["optimizer"], facts["arrays"]
    _expect(optimizer is None or isinstance(optimizer, str), "optimizer", optimizer)
    for key, each in arrays.items():
        _expect(key == name or key.startswith(f"{name}/"), "an array's name", key)
        _expect(_are_counts(each["shape"], 2) and safetensors_io.is_known(each["dtype"]), key, each)
    rows, columns = arrays[name]["shape"]
    files = tuple(_file(Shard, each, save) for each in facts["files"])
    for file in files:
        _expect(_are_counts(file.rows, 3) and file.rows[2] and max(file.rows[:2]) <= rows, "rows", file)
        _expect(_are_counts(file.columns, 2) and file.columns[0] <= file.columns[1] <= columns, "columns", file)
    return SavedTable(optimizer, arrays, files)


F = TypeVar("F", bound=File)


def _file(kind: type[F], facts: Mapping[str, Any], save: str) -> F:
    found = kind(**facts)
    folder, _, name = found.file.partition("/")
    _expect(folder == FOLDER + save and name and "/" not in name, "file", found.file)
    _expect(_are_counts((found.bytes, found.crc32), 2), "bytes and crc32", (found.bytes, found.crc32))
    return found


def _are_counts(values: Any, number: int) -> bool:
    listed = isinstance(values, list | tuple) and len(values) == number
    return listed and all(type(value) is int and value >= 0 for value in values)


def _expect(right: Any, name: str, value: Any) -> None:
    if not right:
        raise ValueError(f"{name} is {value!r}")


@contextmanager
def claim(folder: Path, *, overwrite: bool) -> Iterator[None]:
    """Let nobody else save to a folder while the block runs. It is made if it is missing, and removed if it is
    still empty then. Raises as `refuse`, and `FileExistsError` where another process is saving there."""
    refuse(folder, overwrite=overwrite)
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for each in missing:
            flush_folder(each.parent)
        with lock(folder / LOCK, f"{folder}: another process is saving a checkpoint there"):
            refuse(folder, overwrite=overwrite)  # one may have been saved since
            yield
    finally:
        if missing:
            with suppress(OSError):
                folder.rmdir()


def refuse(folder: Path, *, overwrite: bool) -> None:
    """Raises `FileExistsError` where a checkpoint is that is not to be replaced, or something else."""
    if not folder.exists():
        return
    if not folder.is_dir() or _strange(folder):
        raise FileExistsError(f"{folder} exists and is no checkpoint: it is not overwritten")
    if not (folder / NAME).exists():
        return
    if not overwrite:
        raise FileExistsError(f"{folder} exists; choose another path, remove it, or pass overwrite=True")
    try:
        read(folder)
    except ValueError as error:
        told = f"{folder} exists and is no checkpoint: it is not overwritten; choose another path, or remove it"
        raise FileExistsError(f"{told}. {error}") from error


def _strange(folder: Path) -> list[str]:
    """What no save left in a folder that has no manifest."""
    names = os.listdir(folder)
    left = [name for name in names if is_partial(name) or name == LOCK or _is_save(folder / name)]
    return [] if NAME in names else sorted(set(names) - set(left))


def _is_save(folder: Path) -> bool:
    """Whether a folder is one that a save made: by its name and by all that it holds."""
    if not re.fullmatch(f"{FOLDER}[0-9a-f]{{12}}", folder.name) or folder.is_symlink() or not folder.is_dir():
        return False
    return all(each.suffix == ".safetensors" and each.is_file() for each in folder.iterdir())
