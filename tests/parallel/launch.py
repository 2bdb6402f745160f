"""Runs Python under a real `horovodrun` or `mpirun`; nothing it starts outlives it.

On two idle cores a launch of a script that imports TensorFlow costs 7 s on two ranks and 8 s on three, nearly
all of it imports, so tests put all cases of one world size into one launch.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
MARK = "KERASREC_LAUNCH"


@dataclass
class Launch:
    code: int  # the launcher's exit code; -9 where the time limit ended it
    output: str  # of all ranks; under horovodrun every line as `[1]<stdout>:...`
    seconds: float
    left_behind: list[int]  # processes that were still there when the launcher ended (they are ended now)


HOROVODRUN = [sys.executable, "-m", "horovod.runner.launch"]
LAUNCHERS = {
    "horovodrun --gloo": [*HOROVODRUN, "--gloo"],
    "horovodrun --mpi": [*HOROVODRUN, "--mpi"],
    # Waiting ranks yield: there may be fewer cores than ranks.
    "mpirun": ["mpirun", "--allow-run-as-root", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1"],
}


def launch(
    ranks: int,
    script: Path,
    *arguments: str,
    limit: float = 120,
    env: dict[str, str] | None = None,
    by: str = "horovodrun --gloo",
) -> Launch:
    """Run `script` on so many ranks of this machine, started by one of `LAUNCHERS`."""
    mark = uuid.uuid4().hex
    command = [*LAUNCHERS[by], "-np", str(ranks), "-H", f"localhost:{ranks}"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "OMP_NUM_THREADS": "1",
        **(env or {}),
        MARK: mark,
    }
    started = time.monotonic()
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            [*command, sys.executable, str(script), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(limit)
            time.sleep(0.5)
        except subprocess.TimeoutExpired:
            code = -9
        finally:
            seconds = time.monotonic() - started
            left = marked(mark)
            for pid in [process.pid, *left] if process.poll() is None else left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return Launch(code, output.read(), seconds, [] if code == -9 else left)


def marked(mark: str) -> list[int]:
    """Processes that carry the mark in their environment: horovodrun gives ranks sessions of their own."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]
