"""The error of a full disk: the path, the bytes that were free, and what happened to the file that was there."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def naming_full_disk(
    path: Path, written_to: Path, *, replaces: Path | None = None, needed: int | None = None
) -> Iterator[None]:
    """Raise an `OSError` about `path` for a full disk, a full quota or a limit on a file's size.

    The errors of libraries name another path or none.

    Args:
        path: the path that the user asked to write.
        written_to: the path that is written and then replaces what is at `path`.
        replaces: the path that may have existed before; `path` if not given.
        needed: the number of bytes to write, if known.
    """
    try:
        yield
    except Exception as error:
        code = _code(error)
        if code is None:
            raise
        of = "" if needed is None else f" of {needed:,}"
        message = (
            f"cannot write {path}: {os.strerror(code)}. {_size(written_to):,}{of} bytes of it had been written "
            f"and {_free(path):,} bytes are free there; "
        )
        exists = os.path.lexists(path if replaces is None else replaces)
        message += "what was there before is unchanged" if exists else "nothing is left of it"
        raise OSError(code, message) from error


def _code(error: BaseException) -> int | None:
    """Return the system's error number if nothing more can be written; None for another error."""
    if isinstance(error, OSError) and error.errno in _CODES:
        return error.errno
    return next((code for code in _CODES if os.strerror(code) in str(error)), None)


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size if path.exists() else 0
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _free(path: Path) -> int:
    existing = next(place for place in (path, *path.parents) if place.exists())
    return shutil.disk_usage(existing).free
