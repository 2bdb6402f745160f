"""Folders that writers write to before what they wrote takes its name, and what is left of killed ones."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from kerasrec.files import locks

LOCK, OLD = ".kerasrec-lock", ".kerasrec-old"
_NAME_BYTES = 200  # of the 255 that file systems give a name
_DAY = 86_400


@contextmanager
def partial_folder(parent: Path, name: str) -> Iterator[Path]:
    """A folder in `parent`, hidden and locked while the block runs, then removed. Those that dead processes left
    there are removed first."""
    with suppress(OSError):
        _remove_dead(parent)
    short = os.fsencode(name)[:_NAME_BYTES].decode(errors="ignore")
    try:
        folder = Path(mkdtemp(prefix=f".{short}.partial-", dir=parent))
    except OSError as error:
        why = f"cannot write {parent / name}: no folder can be made beside it: {error.strerror}"
        raise OSError(error.errno, why) from error
    descriptor = None
    try:
        # Another writer that looks whether this folder is a dead one's may hold the lock for a moment.
        while (descriptor := locks.take(folder / LOCK)) is None:
            time.sleep(0.001)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def is_partial(name: str) -> bool:
    return re.fullmatch(r"\..*\.partial-[a-z0-9_]{8}", name, re.DOTALL) is not None


def _remove_dead(parent: Path) -> None:
    with os.scandir(parent) as entries:
        folders = [Path(each) for each in entries if is_partial(each.name) and each.is_dir(follow_symlinks=False)]
    for folder in folders:
        # The lock is held while this is decided: a writer says whose it is only once it has it.
        with suppress(OSError), locks.if_free(folder / LOCK) as free:
            if free and _is_dead(folder):
                _put_back(folder)
                shutil.rmtree(folder)


def _is_dead(folder: Path) -> bool:
    """Whether the lock, which nobody else holds now, was taken on this machine; on another one, where this one may
    not see locks, whether nothing has changed for a day as well."""
    newest = max(each.lstat().st_mtime for each in [folder, *folder.rglob("*")])
    return locks.of_this_machine(folder / LOCK) or time.time() - newest > _DAY


def _put_back(folder: Path) -> None:
    """Where two names cannot be exchanged, a kill may have left nothing under a name: the old one gets it back."""
    for old in (folder / OLD).glob("*"):
        path = folder.parent / old.name
        if not os.path.lexists(path):
            os.rename(old, path)
