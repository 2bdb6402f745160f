"""Flushing files to the disk: until then, a power cut may leave them with 0 bytes."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FLUSHES = 8  # files at a time, which the disk then writes together


def flush_tree(path: Path) -> None:
    """Flush a file, or all files of a folder and then its folders from the innermost out."""
    if not path.is_dir():
        _flush_file(path)
        return
    files, folders = [], []
    for place, _, names in os.walk(path, topdown=False):
        files += [file for name in names if (file := Path(place, name)).is_file() and not file.is_symlink()]
        folders.append(Path(place))
    with ThreadPoolExecutor(FLUSHES) as threads:
        list(threads.map(_flush_file, files))
    for folder in folders:
        flush_folder(folder)


def flush_folder(folder: Path) -> None:
    """Flush a folder's list of names, if its file system can."""
    if os.name == "nt":
        return
    try:
        _flush(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _flush_file(file: Path) -> None:
    _flush(file, os.O_RDWR if os.name == "nt" else os.O_RDONLY)


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync leaves it in the disk's own memory
            try:
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
                return
            except OSError:
                pass
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
