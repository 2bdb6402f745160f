"""Locks that the system lets go of when their process ends, however it ends."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_CANNOT = {errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL}  # such as Lustre mounted without flock


def take(file: Path) -> int | None:
    """Take the lock of a file that is made if it does not exist; returns its descriptor, which holds the lock.

    None where another process, or another descriptor of this one, holds it.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not _try(descriptor):
            os.close(descriptor)
            return None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, holder().encode())
    except BaseException:
        with suppress(OSError):
            os.close(descriptor)
        raise
    return descriptor


@contextmanager
def if_free(file: Path) -> Iterator[bool]:
    """Hold the lock of a file that exists for the block; yields whether it could be had."""
    descriptor = os.open(file, os.O_RDWR)
    try:
        yield _try(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def lock(file: Path, busy: str) -> Iterator[None]:
    """Hold a lock for the block; the file that stands for it is removed after.

    Args:
        file: its name, in a folder that exists.
        busy: what another process is busy with, if it holds the lock: the message of the error.

    Raises:
        FileExistsError: another process holds it.
    """
    while True:
        descriptor = take(file)
        if descriptor is None:
            raise FileExistsError(f"{busy} ({_text(file)}); wait until it is done, or choose another path")
        if _is(descriptor, file):
            break
        os.close(descriptor)  # the one who had it removed the file in between
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()
        os.close(descriptor)


def holder() -> str:
    """Words for this process."""
    return f"process {os.getpid()} on {platform.node()}"


def of_this_machine(file: Path) -> bool:
    """Whether the process that took a file's lock ran on this machine, where a lock that is not held is certain
    to be free: some shared file systems keep locks to one machine."""
    return _text(file).endswith(f" on {platform.node()}")


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _try(descriptor: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    return True


def _is(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False
