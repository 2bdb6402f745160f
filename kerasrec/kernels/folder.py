"""The folder in which what is built on this machine is kept, and whether another user could have changed it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path


def cache_folder() -> Path:
    """`~/.cache/kerasrec`, or `$XDG_CACHE_HOME/kerasrec`; made so that only its owner can enter.

    Raises:
        OSError: it cannot be made, or another user could change what is in it; names the folder to blame.
    """
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kerasrec"
    except RuntimeError as error:
        raise OSError(
            f"there is no home folder ({error}): set XDG_CACHE_HOME to one that only you can write"
        ) from None
    folder = Path(os.path.abspath(folder))
    for place in [*reversed(folder.parents), folder]:
        if not place.exists():
            place.mkdir(mode=0o700, exist_ok=True)
    there = folder.stat()
    if os.name == "posix" and there.st_uid == os.getuid() and stat.S_IMODE(there.st_mode) != 0o700:
        folder.chmod(0o700)
    if reason := who_else(folder):
        raise OSError(
            f"{reason}, so what is in {folder} is not used; set XDG_CACHE_HOME to a folder that only you can write"
        )
    return folder


def who_else(path: Path) -> str | None:
    """How another user than this one and root could change `path`: it, or a folder or a link on the way to it,
    is theirs or they may write there. None where nobody could."""
    if os.name != "posix":
        return None
    for place in _way_to(Path(os.path.abspath(path))):
        there = place.lstat()
        if there.st_uid not in (0, os.getuid()):
            return f"{place} belongs to another user ({_name(there.st_uid)})"
        if stat.S_ISLNK(there.st_mode):
            continue
        if place != path and there.st_mode & stat.S_ISVTX:
            continue  # as /tmp: others may add to it, but not replace what is ours
        if there.st_mode & stat.S_IWOTH:
            return f"{place} may be written by everybody"
        if there.st_mode & stat.S_IWGRP and not _private(there.st_gid):
            return f"{place} may be written by a group of users"
    return None


def digest(path: Path) -> str:
    """A file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _way_to(path: Path) -> Iterator[Path]:
    """Every folder and link that is passed on the way to an absolute `path`, and itself."""
    place = Path(path.anchor)
    yield place
    for part in path.parts[1:]:
        if part == "..":
            place = place.parent
            continue
        place /= part
        yield place
        if place.is_symlink():
            yield from _way_to(place.parent / place.readlink())
            place = Path(os.path.realpath(place))


def _private(gid: int) -> bool:
    """Whether a group has this user alone in it, as many systems make one for each user."""
    import grp
    import pwd

    try:
        me, group = pwd.getpwuid(os.getuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return gid == me.pw_gid and group.gr_name == me.pw_name and not set(group.gr_mem) - {me.pw_name}


def _name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
