"""Builds Horovod against the installed TensorFlow, once, and installs it.

Run it as `python -m kerasrec.parallel.horovod_wheel`. Horovod 0.28.1 is published as source alone, and one of its
files includes XLA headers that TensorFlow's wheels do not ship. That file (XLA's versions of the collectives) is
left out; the rest builds as it is. By default with Gloo and no MPI; Horovod's own variables decide otherwise:
`HOROVOD_WITH_MPI=1`, `HOROVOD_GPU_OPERATIONS=NCCL`, ...
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from kerasrec.files import write_aside
from kerasrec.files.addresses import hide_secrets
from kerasrec.kernels.folder import cache_folder, digest, unsafe_reason

VERSION = "0.28.1"
SHA256 = "92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0"
TOOLS = ("cmake>=3.18,<4", "setuptools<81", "wheel", "packaging")
ALONE = ("--no-deps", "--no-build-isolation")
RUN_TIME = ("cloudpickle", "psutil", "pyyaml")
DIGEST = "SHA256"  # beside a kept wheel
PATCHED = "horovod/tensorflow/CMakeLists.txt"
DROPPED = 'list(APPEND TF_SOURCES "${PROJECT_SOURCE_DIR}/horovod/tensorflow/xla_mpi_ops.cc")\n'
DEFAULTS = {
    "HOROVOD_WITH_TENSORFLOW": "1",
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_WITHOUT_MPI": "1",
    "HOROVOD_WITHOUT_PYTORCH": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
}
ASKED = tuple(f"HOROVOD_{word}" for word in ("WITH", "GPU", "CPU_OP", "CUDA", "NCCL", "ROCM", "MPICXX", "BUILD"))


def wheel() -> Path:
    """Return the wheel for this Python, TensorFlow and machine; build it in about 2.5 minutes if none is cached.

    Raises:
        OSError: something that the build needs is missing, or the build failed; the message says which.
    """
    tensorflow = _tensorflow()
    settings = _settings()
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    place = [sys.version, sysconfig.get_platform(), *platform.libc_ver()]
    made_of = "\0".join([VERSION, tensorflow, *place, *(f"{k}={v}" for k, v in sorted(settings.items()))])
    folder = cache_folder() / f"horovod-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"
    if kept := _kept(folder):
        return kept
    if compiler is None:
        raise OSError("there is no C++ compiler (g++) on this machine, and Horovod is built from source")
    print(f"building Horovod {VERSION} against TensorFlow {tensorflow}, in about 3 minutes", flush=True)
    with write_aside(folder) as aside, tempfile.TemporaryDirectory(prefix="kerasrec-horovod-") as work:
        _build(Path(work), aside, settings)
        (built,) = aside.glob("*.whl")
        built.chmod(0o600)
        (aside / DIGEST).touch(mode=0o600)
        (aside / DIGEST).write_text(digest(built) + "\n", encoding="utf-8")
    return folder / built.name


def _kept(folder: Path) -> Path | None:
    """Return the cached wheel, unless its bytes changed since or another user could have changed them."""
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1 or not (folder / DIGEST).is_file():
        return None
    if unsafe_reason(wheels[0]) or unsafe_reason(folder / DIGEST):
        return None
    return wheels[0] if digest(wheels[0]) == (folder / DIGEST).read_text(encoding="utf-8").strip() else None


def install(path: Path) -> None:
    """Install the wheel and what Horovod needs at run time into the running environment.

    Raises:
        OSError: pip could not; says why.
    """
    # --force-reinstall: the version says nothing about which TensorFlow an installed Horovod was built against.
    _run("install Horovod", _pip("install", "--no-deps", "--force-reinstall", str(path)))
    _run("install what Horovod needs", _pip("install", *RUN_TIME))


def _tensorflow() -> str:
    if find_spec("pip") is None:
        raise OSError(f"{sys.executable} has no pip: run `{sys.executable} -m ensurepip` first")
    for name in ("tensorflow", "tensorflow-cpu"):
        try:
            return f"{version(name)} ({name})"
        except PackageNotFoundError:
            continue
    raise OSError(
        'TensorFlow is not installed, and Horovod is built against it: pip install "kerasrec[cpu]" first'
    )


def _settings() -> dict[str, str]:
    """Return the settings of the build: the defaults, overridden by the user's environment."""
    asked = {name: value for name, value in os.environ.items() if name.startswith(ASKED)}
    defaults = {
        name: value
        for name, value in DEFAULTS.items()
        if name.replace("_WITHOUT_", "_WITH_") not in asked and name.replace("_WITH_", "_WITHOUT_") not in asked
    }
    return defaults | asked


def _build(work: Path, out: Path, settings: dict[str, str]) -> None:
    """Build with tools in a folder of their own, so that the user's environment gets nothing but Horovod."""
    tools = work / "tools"
    _run("fetch the build's tools", _pip("install", "--target", str(tools), *TOOLS))
    paths = os.pathsep.join(filter(None, [str(tools), os.environ.get("PYTHONPATH")]))
    path = os.pathsep.join([str(tools / "bin"), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, **settings, "PYTHONPATH": paths, "PATH": path}
    # Horovod's own choice is eight compilers at once, which a small machine's memory does not hold.
    environment.setdefault("MAKEFLAGS", f"-j{min(8, os.cpu_count() or 1)}")
    source = _unpack(_fetch(work, environment), work)
    out.mkdir(mode=0o700)
    _run("build Horovod", _pip("wheel", *ALONE, "--wheel-dir", str(out), str(source)), environment)


def _fetch(work: Path, environment: Mapping[str, str]) -> Path:
    """Download Horovod's source from the index that pip is set up with.

    pip runs the `setup.py` of a source as soon as it has it, unless it is told which hash it must have: then it
    looks at that first.
    """
    (work / "horovod.txt").write_text(f"horovod=={VERSION} --hash=sha256:{SHA256}\n", encoding="utf-8")
    options = ["--require-hashes", "--requirement", str(work / "horovod.txt")]
    fetch = _pip("download", *ALONE, *options, "--no-binary", ":all:", "--dest", str(work))
    _run("fetch Horovod's source", fetch, environment)
    return work / f"horovod-{VERSION}.tar.gz"


def _unpack(archive: Path, folder: Path) -> Path:
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    if sha256 != SHA256:
        raise OSError(f"{archive.name} is not the published file: its SHA-256 must be {SHA256}; got {sha256}")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    source = folder / f"horovod-{VERSION}"
    text = (source / PATCHED).read_text(encoding="utf-8")
    if text.count(DROPPED) != 1:
        raise OSError(f"{PATCHED} of Horovod {VERSION} does not hold the line that is to be dropped: {DROPPED}")
    (source / PATCHED).write_text(text.replace(DROPPED, ""), encoding="utf-8")
    return source


def _pip(command: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check", *arguments]


def _run(what: str, command: list[str], environment: Mapping[str, str] | None = None) -> None:
    """Run it quietly; a terminal sees the seconds go by, and a failure the end of what it printed."""
    started = time.monotonic()
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        while True:
            try:
                failed = process.wait(timeout=1)
                break
            except subprocess.TimeoutExpired:
                if sys.stdout.isatty():
                    print(f"\r{what}: {time.monotonic() - started:.0f} s", end="", flush=True)
            except BaseException:
                process.kill()
                raise
        if failed:
            log.seek(0)
            raise OSError(
                f"could not {what}; the end of what it printed:\n{hide_secrets(log.read()[-3000:].strip())}"
            )
    if sys.stdout.isatty():
        print("\r", end="")
    print(f"{what}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    try:
        install(wheel())
    except OSError as error:
        sys.exit(f"error: {error}")
    print("Horovod is installed; `kerasrec doctor` proves it")
