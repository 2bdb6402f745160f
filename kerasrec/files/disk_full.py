"""A full disk, told with the path, what was free, and what became of the file that was there."""

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
    """Raise a full disk, a full quota and a limit on a file's size as an `OSError` about `path`.

    Libraries have errors of their own for these, which name another path or none.

    Args:
        path: what the user asked to write.
        written_to: where it is written before that replaces what is at `path`.
        replaces: what was there before if it exists; `path` if not given.
        needed: how many bytes it takes, where that is known.
    """
    try:
        yield
    except Exception as error:
        code = _code(error)
        if code is None:
            raise
        of = "" if needed is None else f" of {needed:,}"
        told = (
            f"cannot write {path}: {os.strerror(code)}. {_size(written_to):,}{of} bytes of it had been written "
            f"and {_free(path):,} bytes are free there; "
        )
        exists = os.path.lexists(path if replaces is None else replaces)
        told += "what was there before is unchanged" if exists else "nothing is left of it"
        raise OSError(code, told) from error


def _code(error: BaseException) -> int | None:
    """The system's number of why nothing more can be written; None where that is not what happened."""
    if isinstance(error, OSError) and error.errno in _CODES:
        return error.errno
    return next((code for code in _CODES if os.strerror(code) in str(error)), None)


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size if path.exists() else 0
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


def _free(path: Path) -> int:
    there = next(each for each in (path, *path.parents) if each.exists())
    return shutil.disk_usage(there).free
