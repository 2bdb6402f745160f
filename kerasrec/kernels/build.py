"""Compile a C++ file of this folder for this machine, once."""

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

from kerasrec.kernels.folder import cache_folder, digest, unsafe_reason

T = TypeVar("T")
_log = logging.getLogger("kerasrec")
# Without -ffast-math, NaN and infinity are kept. -U__AVX512FP16__: the Eigen that TensorFlow ships does not
# compile for CPUs with half-float arithmetic.
FLAGS = ("-std=c++17", "-O3", "-march=native", "-U__AVX512FP16__", "-fno-math-errno", "-fPIC", "-shared", "-w")


def load(
    source: str, opener: Callable[[str], T], compile_flags: Sequence[str] = (), link_flags: Sequence[str] = ()
) -> T:
    """Open a compiled library; compile it if `cache_folder()` does not have it.

    Compiling takes about 15 seconds for `rows.cc` and one for `pools.cc`. A cached library that is damaged, that
    another user can write or that does not open is compiled again. Processes that start together compile once.

    Args:
        source: a file of this folder.
        opener: called with the library's path; `load` returns its result.
        compile_flags, link_flags: in addition to `FLAGS`.

    Raises:
        OSError: there is no C++ compiler, it fails, or there is no safe cache folder.
    """
    code = Path(__file__).with_name(source)
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise OSError("there is no C++ compiler (g++) on this machine")
    command = [compiler, *FLAGS, *compile_flags, str(code)]
    inputs = "\0".join([code.read_text(), *command, *link_flags, platform.machine(), _cpu()])
    folder = cache_folder()
    name = f"{code.stem}-{hashlib.sha256(inputs.encode()).hexdigest()[:16]}"
    with _lock(folder / f"{name}.lock"):
        cached = _cached(folder, name)
        if cached is not None:
            try:
                return opener(str(cached))
            except Exception as error:
                _log.warning("%s is compiled again, because it does not open: %s", cached, error)
                cached.unlink()
        return opener(str(_compiled(folder, name, command, link_flags)))


def _cached(folder: Path, name: str) -> Path | None:
    """Return the cached library of a name; its file's name ends in the SHA-256 of what the compiler wrote."""
    for path in folder.glob(f"{name}-*.so"):
        if (
            stat.S_ISREG(path.lstat().st_mode)
            and not unsafe_reason(path)
            and path.stem == f"{name}-{digest(path)}"
        ):
            return path
        _log.warning("%s is compiled again, because it is not as the compiler wrote it", path)
        path.unlink()
    return None


def _compiled(folder: Path, name: str, command: Sequence[str], link_flags: Sequence[str]) -> Path:
    """Compile a library, move it to the cache and return its path."""
    with TemporaryDirectory(prefix=f".{name}.partial-", dir=folder) as work:
        library = Path(work) / "library.so"
        done = subprocess.run([*command, "-o", str(library), *link_flags], capture_output=True, text=True)
        if done.returncode:
            reason = done.stderr.strip()[-500:]
            raise OSError(f"{command[0]} could not compile {Path(command[-1]).name}: {reason}")
        library.chmod(0o700)
        path = folder / f"{name}-{digest(library)}.so"
        os.replace(library, path)
    return path


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Lock other processes out, if the file system has locks; otherwise each compiles for itself."""
    with path.open("w") as file:
        with contextlib.suppress(OSError, ImportError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _cpu() -> str:
    """Return the CPU's features, on which -march=native depends: machines may share a home folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
