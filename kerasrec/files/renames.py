"""Atomic renames for which Python's `os` has no function."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

# Linux: renameat2(AT_FDCWD, source, AT_FDCWD, target, flags). macOS: renamex_np(source, target, flags).
_AT_FDCWD = -100
_LINUX_NEW, _LINUX_EXCHANGE = 1, 2
_MACOS_NEW, _MACOS_EXCHANGE = 4, 2
_CANNOT = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}  # the system, or this file system


def rename_new(source: Path, target: Path) -> None:
    """Rename a file or a folder to a name that is free.

    Raises:
        FileExistsError: the name is not free. It is found in the rename itself, not before.
    """
    if _rename(source, target, _LINUX_NEW, _MACOS_NEW):
        return
    if source.is_dir():
        os.mkdir(target)  # takes the name, or raises
        os.rename(source, target)  # POSIX replaces an empty folder
    else:
        os.link(source, target)
        os.unlink(source)


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names, so that neither is missing at any moment; return False if the file system cannot."""
    return _rename(one, other, _LINUX_EXCHANGE, _MACOS_EXCHANGE)


def _rename(source: Path, target: Path, linux: int, macos: int) -> bool:
    if os.name != "posix":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(source), os.fsencode(target)
    if hasattr(libc, "renameat2"):
        failed = libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], linux)
    elif hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(*names, macos)
    else:
        return False
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT:
        return False
    raise OSError(code, os.strerror(code), str(source), None, str(target))
