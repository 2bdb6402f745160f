"""The folder for files that are built on this machine, and checks that no other user can change them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path


def cache_folder() -> Path:
    """Return `~/.cache/kerasrec` or `$XDG_CACHE_HOME/kerasrec`; create it so that only its owner can enter.

    Raises:
        OSError: it cannot be created, or another user can change what is in it.
    """
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kerasrec"
    except RuntimeError as error:
        raise OSError(
            f"there is no home folder ({error}); set XDG_CACHE_HOME to a folder that only you can write"
        ) from None
    folder = Path(os.path.abspath(folder))
    for place in [*reversed(folder.parents), folder]:
        if not place.exists():
            place.mkdir(mode=0o700, exist_ok=True)
    status = folder.stat()
    if os.name == "posix" and status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) != 0o700:
        folder.chmod(0o700)
    if reason := unsafe_reason(folder):
        raise OSError(
            f"{reason}, so what is in {folder} is not used; set XDG_CACHE_HOME to a folder that only you can write"
        )
    return folder


def unsafe_reason(path: Path) -> str | None:
    """Return how a user other than this one and root could change a file or folder; None if nobody could.

    They could if they own it, or a folder or link on the way to it, or can write there.
    """
    if os.name != "posix":
        return None
    for place in _way_to(Path(os.path.abspath(path))):
        status = place.lstat()
        if status.st_uid not in (0, os.getuid()):
            return f"{place} belongs to another user ({_name(status.st_uid)})"
        if stat.S_ISLNK(status.st_mode):
            continue
        if place != path and status.st_mode & stat.S_ISVTX:
            continue  # like /tmp: others can add files, but not replace ours
        if status.st_mode & stat.S_IWOTH:
            return f"{place} can be written by everybody"
        if status.st_mode & stat.S_IWGRP and not _private(status.st_gid):
            return f"{place} can be written by a group of users"
    return None


def digest(path: Path) -> str:
    """Return a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _way_to(path: Path) -> Iterator[Path]:
    """Yield every folder and link on the way to an absolute `path`, and the path itself."""
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
    """Return whether this user is the only member of a group; many systems create such a group per user."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return gid == user.pw_gid and group.gr_name == user.pw_name and not set(group.gr_mem) - {user.pw_name}


def _name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
