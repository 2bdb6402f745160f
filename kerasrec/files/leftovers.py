"""Hidden folders in which files are written before they get their names, and those that killed processes left."""

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
    """Yield a hidden folder in `parent` that is locked while the block runs, then removed.

    Those that dead processes left there are removed first.
    """
    with suppress(OSError):
        _remove_dead(parent)
    short = os.fsencode(name)[:_NAME_BYTES].decode(errors="ignore")
    try:
        folder = Path(mkdtemp(prefix=f".{short}.partial-", dir=parent))
    except OSError as error:
        message = f"cannot write {parent / name}: no folder can be made beside it: {error.strerror}"
        raise OSError(error.errno, message) from error
    descriptor = None
    try:
        # Another process that checks whether the owner of this folder is dead may have the lock for a moment.
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
        folders = [Path(e) for e in entries if is_partial(e.name) and e.is_dir(follow_symlinks=False)]
    for folder in folders:
        # The lock is kept while this is decided: a process writes its name into it only after it has it.
        with suppress(OSError), locks.if_free(folder / LOCK) as free:
            if free and _is_dead(folder):
                _put_back(folder)
                shutil.rmtree(folder)


def _is_dead(folder: Path) -> bool:
    """Return whether the owner of a folder whose lock is free is dead.

    It is if it ran on this machine. Of another machine, whose locks may not be visible here, the folder must also
    not have changed for a day.
    """
    newest = max(path.lstat().st_mtime for path in [folder, *folder.rglob("*")])
    return locks.of_this_machine(folder / LOCK) or time.time() - newest > _DAY


def _put_back(folder: Path) -> None:
    """Give old files their names back, where names cannot be exchanged and a kill left nothing under them."""
    for old in (folder / OLD).glob("*"):
        path = folder.parent / old.name
        if not os.path.lexists(path):
            os.rename(old, path)
