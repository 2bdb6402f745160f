"""`kerasrec doctor`: list what is installed, and test that two ranks can reach each other."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from rich.console import Console

from kerasrec.cli.errors import CommandError
from kerasrec.cli.import_tensorflow import import_tensorflow
from kerasrec.cli.missing import Installation, missing
from kerasrec.cli.text_table import table

LIMIT = 120  # seconds for the round trip
ABSENT = "not installed"
SECURITY_NOTE = (
    "Horovod's rendezvous listens on all of a machine's network addresses, and anyone who reaches it can join a "
    "job: run several ranks in trusted networks only (docs/security.md)."
)


def run_doctor() -> None:
    """Print what is installed, what is missing with the command that installs it, and test two ranks.

    Raises:
        CommandError: TensorFlow cannot be imported, or the two ranks failed.
    """
    console = Console()
    reason = _import_error()
    lines, found = _without_tensorflow(reason) if reason else _with_tensorflow()
    console.print(table("installed", [*lines, *_packages()], ("package", "version"), ()))
    absent = list(missing(found))
    required = [item for item in absent if item.required]
    optional = "" if required else ", though kerasrec works without"
    console.print(f"\n[bold]missing[/]{optional}" if absent else "\nNothing is missing.")
    for item in absent:
        console.print(f"- {item.what}", markup=False, highlight=False)
        console.print(f"    {item.command}", style="bold", markup=False, highlight=False, soft_wrap=True)
    if required:
        raise CommandError(f"{required[0].what} Run: {required[0].command}")
    if found.horovod:
        return
    console.print("\nTwo ranks under horovodrun ...")
    started = time.perf_counter()
    results = round_trip()
    console.print(table("two ranks", results, ("collective", "time", "result"), ("time",)))
    console.print(f"\nTwo ranks work; starting and ending them took {time.perf_counter() - started:.0f} s.")
    console.print(SECURITY_NOTE, style="dim")


def _import_error() -> str:
    """Import TensorFlow and Keras; return why that is not possible, or ""."""
    try:
        import_tensorflow()
        import keras  # noqa: F401
    except Exception as error:  # a broken installation may raise anything
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def _without_tensorflow(reason: str) -> tuple[list[tuple[str, str]], Installation]:
    shown = _version("tensorflow")
    lines = [("TensorFlow", f"{shown}, but it cannot be imported" if shown != ABSENT else ABSENT)]
    return lines, Installation(
        tensorflow=reason,
        nvidia_driver=shutil.which("nvidia-smi") is not None,
        horovod=ABSENT if find_spec("horovod") is None else "",
        compiler=_compiler() is not None,
        kernels=False,
        modules=_modules(),
    )


def _with_tensorflow() -> tuple[list[tuple[str, str]], Installation]:
    """Return packages, devices and tools with their versions, and what may be missing of them."""
    import keras
    import tensorflow as tf

    from kerasrec import kernels
    from kerasrec.parallel.comm.uncaught_error import GLOO_LIMIT, gloo_limit

    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    loaded, horovod = kernels.compiled() is not None, _horovod()
    lines = [
        ("Keras", f"{keras.__version__}, backend {keras.backend.backend()}"),
        ("TensorFlow", tf.__version__),
        ("GPUs visible to TensorFlow", ", ".join(gpu.get("device_name", "GPU") for gpu in gpus) or "none"),
        ("Horovod", horovod),
        ("Gloo timeout for a paused rank", f"{gloo_limit()} s ({GLOO_LIMIT})"),
        ("compiled kernels", "loaded" if loaded else "not available"),
    ]
    return lines, Installation(
        backend=keras.backend.backend(),
        gpus=len(gpus),
        nvidia_driver=shutil.which("nvidia-smi") is not None,
        horovod=horovod if horovod == ABSENT else "",
        compiler=_compiler() is not None,
        kernels=loaded,
        modules=_modules(),
    )


def _packages() -> list[tuple[str, str]]:
    """Return what needs no TensorFlow, with its version."""
    from kerasrec import __version__

    return [
        ("kerasrec", __version__),
        ("Python", f"{platform.python_version()} on {platform.platform()}"),
        ("C++ compiler", _compiler() or "none"),
        ("Polars", _version("polars")),
        ("pyarrow", _version("pyarrow")),
        ("cuDF", _version("cudf-cu12")),
    ]


def _compiler() -> str | None:
    return os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")


def _modules() -> frozenset[str]:
    """Return which of the optional modules are installed."""
    return frozenset(name for name in ("cudf", "distributed", "fsspec") if find_spec(name) is not None)


def round_trip() -> list[tuple[str, str, str]]:
    """Run each collective on two real ranks; return its name, its time and its result on rank 0.

    Raises:
        CommandError: they failed, or took longer than LIMIT seconds.
    """
    gloo = ["--gloo"] if "Gloo" in _horovod() else []
    launcher = [sys.executable, "-m", "horovod.runner.launch", *gloo, "-np", "2", "-H", "localhost:2"]
    process = subprocess.Popen(
        [*launcher, sys.executable, "-m", "kerasrec.parallel.comm.round_trip"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=LIMIT)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGTERM)  # horovodrun ends its ranks
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        if isinstance(error, subprocess.TimeoutExpired):
            raise CommandError(f"two ranks under horovodrun did not finish within {LIMIT} seconds") from error
        raise
    if process.returncode:
        raise CommandError(f"two ranks under horovodrun failed: {_reason(output)}")
    answers = [
        line.partition("round trip: ")[2].split("\t") for line in output.splitlines() if "round trip: " in line
    ]
    return [(name, f"{1000 * float(seconds):.1f} ms", result) for name, seconds, result in answers]


def _reason(output: str) -> str:
    """Return the line in which a rank says what went wrong, or the last lines."""
    lines = [line.split(">:", 1)[-1] for line in output.splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("rank ") and "stopped, because" not in line]
    return ours[0] if ours else " | ".join(lines[-3:])


def _horovod() -> str:
    """Return Horovod's version and build, asked of another process, because a broken build may crash."""
    if find_spec("horovod") is None:
        return ABSENT
    from kerasrec.parallel.comm.collectives import ASK_BUILD

    build = subprocess.run([sys.executable, "-c", ASK_BUILD], capture_output=True, text=True)
    if build.returncode:
        reason = (build.stderr.strip().splitlines() or ["it crashed"])[-1]
        return f"{_version('horovod')}, but it cannot be imported: {reason}"
    return f"{_version('horovod')} with {build.stdout.strip().splitlines()[-1]}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ABSENT
