"""The position of a training, and `training.json`, the file of a checkpoint that holds it."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kerasrec._version import __version__

FORMAT = 1
NAME = "training.json"


@dataclass(frozen=True)
class Position:
    """How far a training has come: `batch` batches of epoch `epoch`, counted from 0, are done.

    Attributes:
        step: batches trained on since the training began, over all epochs.
        epoch: the epoch that goes on, or comes next where `batch` is 0.
        batch: how many of its batches are done, on each rank.
        finished: whether `fit` had come to its end.
        stopped: whether it had ended early, as `EarlyStopping` has it do.
    """

    step: int
    epoch: int
    batch: int = 0
    finished: bool = False
    stopped: bool = False


@dataclass(frozen=True)
class Training:
    """The contents of a checkpoint's `training.json`.

    Attributes:
        save: a mark that all files of a checkpoint have.
        ranks: how many ranks saved it.
        batches: the batches per epoch; None where no loader was saved.
        loader: the loader's `state()`; None without one.
        validation_epoch: which epoch of the validation data comes next; None where that is not a loader.
        files: of each rank's own file its bytes and CRC-32.
    """

    save: str
    ranks: int
    position: Position
    batches: int | None
    loader: dict[str, Any] | None
    validation_epoch: int | None
    files: list[dict[str, int]]

    def write(self, folder: Path, **versions: str) -> None:
        """Write `training.json` into a folder, with a checksum and the versions of what saved it."""
        contents = {"format": FORMAT, "kerasrec": __version__, **versions, **asdict(self)}
        text = json.dumps({"crc32": _checksum(contents), **contents}, indent=1)
        (folder / NAME).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> Training:
    """Read the `training.json` of a checkpoint.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or of a later format.
    """
    file = folder / NAME
    try:
        contents = json.loads(file.read_text(encoding="utf-8"))
        checksum = contents.pop("crc32")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{folder} is not a checkpoint of kr.checkpoint: there is no {file}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is damaged, or not what kr.checkpoint writes: {error!r}") from error
    if checksum != _checksum(contents):
        raise ValueError(f"{file} is damaged: its contents do not match its CRC-32")
    if contents["format"] != FORMAT:
        raise ValueError(
            f"{file} has format {contents['format']}; this kerasrec {__version__} reads format {FORMAT}"
        )
    names = ("save", "ranks", "batches", "loader", "validation_epoch", "files")
    return Training(position=Position(**contents["position"]), **{name: contents[name] for name in names})


def _checksum(contents: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(contents, sort_keys=True).encode())
