"""Compiles a file of this folder for this machine, once."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from kerasrec.kernels.folder import cache_folder, digest, who_else

T = TypeVar("T")
_log = logging.getLogger("kerasrec")
# Arithmetic stays IEEE's (no -ffast-math): NaN and infinity reach whoever looks for them.
# For CPUs that compute with half floats Eigen has code that does not compile as TensorFlow ships it: hence the -U.
FLAGS = ("-std=c++17", "-O3", "-march=native", "-U__AVX512FP16__", "-fno-math-errno", "-fPIC", "-shared", "-w")


def load(
    source: str, opener: Callable[[str], T], compile_flags: Sequence[str] = (), link_flags: Sequence[str] = ()
) -> T:
    """Open the compiled library, which is kept in `cache_folder()`; `rows.cc` takes about 15 seconds the first
    time, `pools.cc` one.

    A kept library that is damaged, that another user could have written or that does not open is compiled again.
    Processes that start together compile once.

    Args:
        source: a file of this folder.
        opener: what is given the library's path; what it returns is returned.
        compile_flags, link_flags: beside those that all have.

    Raises:
        OSError: there is no C++ compiler, or it failed, or no folder to keep a library in; says why.
    """
    code = Path(__file__).with_name(source)
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise OSError("there is no C++ compiler (g++) on this machine")
    command = [compiler, *FLAGS, *compile_flags, str(code)]
    made_of = "\0".join([code.read_text(), *command, *link_flags, platform.machine(), _cpu()])
    folder = cache_folder()
    name = f"{code.stem}-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"
    with _one_at_a_time(folder / f"{name}.lock"):
        kept = _kept(folder, name)
        if kept is not None:
            try:
                return opener(str(kept))
            except Exception as error:
                _log.warning("%s is compiled again, because it does not open: %s", kept, error)
                kept.unlink()
        return opener(str(_compiled(folder, name, command, link_flags)))


def _kept(folder: Path, name: str) -> Path | None:
    """The library of a name, whose file's name ends in the SHA-256 of what the compiler wrote."""
    for path in folder.glob(f"{name}-*.so"):
        if stat.S_ISREG(path.lstat().st_mode) and not who_else(path) and path.stem == f"{name}-{digest(path)}":
            return path
        _log.warning("%s is compiled again, because it is not what the compiler wrote", path)
        path.unlink()
    return None


def _compiled(folder: Path, name: str, command: Sequence[str], link_flags: Sequence[str]) -> Path:
    with TemporaryDirectory(prefix=f".{name}.partial-", dir=folder) as work:
        made = Path(work) / "library.so"
        done = subprocess.run([*command, "-o", str(made), *link_flags], capture_output=True, text=True)
        if done.returncode:
            reason = done.stderr.strip()[-500:]
            raise OSError(f"{command[0]} could not compile {Path(command[-1]).name}: {reason}")
        made.chmod(0o700)
        path = folder / f"{name}-{digest(made)}.so"
        os.replace(made, path)
    return path


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Hold a lock between processes, where the file system has locks; without one each compiles for itself."""
    with path.open("w") as file:
        with contextlib.suppress(OSError, ImportError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _cpu() -> str:
    """What -march=native depends on: a home folder may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
