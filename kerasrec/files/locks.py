"""File locks, which the system releases when their process ends, however it ends."""

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
    """Lock a file, which is made if it does not exist, and return the descriptor that keeps the lock.

    It is None if another process, or another descriptor of this one, has the lock.
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
    """Lock a file that exists for the block, and yield whether it was free."""
    descriptor = os.open(file, os.O_RDWR)
    try:
        yield _try(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def lock(file: Path, busy: str) -> Iterator[None]:
    """Lock a file for the block, and remove the file afterwards.

    Args:
        file: its name, in a folder that exists.
        busy: what another process is doing if it has the lock: the message of the error.

    Raises:
        FileExistsError: another process has the lock.
    """
    while True:
        descriptor = take(file)
        if descriptor is None:
            raise FileExistsError(f"{busy} ({_text(file)}); wait until it is done, or choose another path")
        if _is(descriptor, file):
            break
        os.close(descriptor)  # the process that had it removed the file in between
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()
        os.close(descriptor)


def holder() -> str:
    """Return a description of this process."""
    return f"process {os.getpid()} on {platform.node()}"


def of_this_machine(file: Path) -> bool:
    """Return whether the process that locked a file ran on this machine.

    Only then is a lock that looks free certain to be: on some shared file systems other machines do not see it.
    """
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
