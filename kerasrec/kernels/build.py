"""Compiles a file of this folder for this machine, once."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from kerasrec.files import write_aside

# Arithmetic stays IEEE's (no -ffast-math): NaN and infinity reach whoever looks for them.
# For CPUs that compute with half floats Eigen has code that does not compile as TensorFlow ships it: hence the -U.
FLAGS = ("-std=c++17", "-O3", "-march=native", "-U__AVX512FP16__", "-fno-math-errno", "-fPIC", "-shared", "-w")


def library(source: str, compile_flags: Sequence[str] = (), link_flags: Sequence[str] = ()) -> Path:
    """The compiled library, kept in `~/.cache/kerasrec` (or `$XDG_CACHE_HOME`); `rows.cc` takes about 15 seconds
    the first time, `pools.cc` one.

    Args:
        source: a file of this folder.
        compile_flags, link_flags: beside those that all have.

    Raises:
        OSError: there is no C++ compiler, or it failed; says why.
    """
    code = Path(__file__).with_name(source)
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise OSError("there is no C++ compiler (g++) on this machine")
    command = [compiler, *FLAGS, *compile_flags, str(code)]
    made_of = "\0".join([code.read_text(), *command, *link_flags, platform.machine(), _cpu()])
    path = cache_folder() / f"{code.stem}-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.so"
    if not path.exists():
        with write_aside(path) as aside:
            done = subprocess.run([*command, "-o", str(aside), *link_flags], capture_output=True, text=True)
            if done.returncode:
                raise OSError(f"{compiler} could not compile {source}: {done.stderr.strip()[-500:]}")
    return path


def cache_folder() -> Path:
    """Where what is built on this machine is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kerasrec"


def _cpu() -> str:
    """What -march=native depends on: a home folder may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
