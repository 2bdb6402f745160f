"""What may be replaced: a file, or a folder that contains only files of the kinds that are written there."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from kerasrec.files.leftovers import is_partial

_DESKTOP = (".DS_Store", "Thumbs.db", "desktop.ini")  # what looking at a folder leaves in it


def check_target(path: str | os.PathLike[str], *, overwrite: bool, files: Sequence[str] | None = None) -> Path:
    """Return the path to write to for `path`: the target if it is a link.

    Args:
        overwrite: whether something there may be replaced.
        files: patterns of the names of files in a folder that may be replaced, relative to it; `*` matches files
            in its folders, too. By default any.

    Raises:
        FileExistsError: something is there and `overwrite` is false, or it may not be replaced: a mount point, a
            device or a pipe, or a folder that contains a file of another name.
    """
    shown = Path(os.path.abspath(path))
    target = Path(os.path.realpath(shown)) if shown.is_symlink() else shown
    if not os.path.lexists(target):
        return target
    if target.is_symlink():
        raise OSError(errno.ELOOP, f"cannot write {shown}: its links lead in a circle")
    if not overwrite:
        raise FileExistsError(f"{shown} exists; choose another path, remove it, or pass overwrite=True")
    mode = target.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise FileExistsError(
            f"{shown} is neither a file nor a folder, so it is not replaced; choose another path"
        )
    if _is_mount(target):
        raise FileExistsError(
            f"{shown} is a mount point, which cannot be replaced; choose a path in it, such as {shown / 'new'}"
        )
    if stat.S_ISDIR(mode) and files is not None:
        _refuse_strangers(target, shown, files)
    return target


def _refuse_strangers(folder: Path, shown: Path, files: Sequence[str]) -> None:
    """Raise `FileExistsError` if a folder contains a file whose name matches none of `files`."""
    for name in _files(folder):
        if not any(fnmatchcase(name, pattern) for pattern in files):
            raise FileExistsError(
                f"{shown} is not replaced: it contains {name!r}, which is not a file that is written there; "
                "choose another path, or remove that folder yourself"
            )


def _files(folder: Path) -> Iterable[str]:
    """Yield the names of all files in a folder and below, but those that desktops and killed processes leave."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_partial(name))
        links = [name for name in folders if Path(place, name).is_symlink()]
        for name in sorted([*names, *links]):
            if name not in _DESKTOP:
                yield Path(place, name).relative_to(folder).as_posix()


def _is_mount(path: Path) -> bool:
    if os.path.ismount(path):
        return True
    try:  # a folder that is mounted from the same file system is only in Linux's list
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    places = {re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), line.split(" ")[4]) for line in lines}
    return os.path.realpath(path) in places
