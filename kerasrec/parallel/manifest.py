"""A checkpoint's manifest: which file has which rows and columns of which table.

The manifest is written last and replaces the one that stood there in one step. Each save has a folder of its own
for the other files, so until then the earlier checkpoint is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kerasrec import __version__
from kerasrec.files import write_aside

FORMAT = 1
NAME = "manifest.json"
FOLDER = "save-"


@dataclass(frozen=True)
class File:
    """One file; its path is relative to the checkpoint's."""

    file: str
    bytes: int
    crc32: int


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
        with write_aside(folder / NAME) as aside:
            aside.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        for other in folder.iterdir():
            if other.name.startswith((FOLDER, f".{NAME}.partial-")) and other.name != FOLDER + self.save:
                shutil.rmtree(other, ignore_errors=True)


def read(folder: Path) -> Manifest:
    """The manifest of the checkpoint in a folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is of a later format, or not what this file writes.
    """
    path = folder / NAME
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        version = facts["format"]
        if version != FORMAT:
            raise ValueError(f"{path} is of format {version}; this kerasrec {__version__} reads format {FORMAT}")
        tables = {
            name: SavedTable(each["optimizer"], each["arrays"], tuple(Shard(**file) for file in each["files"]))
            for name, each in facts["tables"].items()
        }
        return Manifest(facts["save"], tables, None if facts["dense"] is None else File(**facts["dense"]))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{folder} is no checkpoint of tables: there is no {path}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not what save_tables writes: {error!r}") from error


def refuse(folder: Path, *, overwrite: bool) -> None:
    """Raises `FileExistsError` where a checkpoint is that is not to be replaced, or something else."""
    if not folder.exists():
        return
    if not folder.is_dir() or _strange(folder):
        raise FileExistsError(f"{folder} exists and is no checkpoint: it is not overwritten")
    if (folder / NAME).exists() and not overwrite:
        raise FileExistsError(f"{folder} exists; choose another path, remove it, or pass overwrite=True")


def _strange(folder: Path) -> list[str]:
    """What no save left in a folder that has no manifest."""
    names = os.listdir(folder)
    return [] if NAME in names else [name for name in names if not name.startswith((FOLDER, f".{NAME}."))]
