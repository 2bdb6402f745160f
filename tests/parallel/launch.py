"""Run Python under a real `horovodrun` or `mpirun`; nothing it starts outlives it.

Every launch imports TensorFlow once per rank, some three seconds of a core each: what can share processes uses
`ranks.py`.
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
LAUNCHERS = {
    "horovodrun --gloo": [sys.executable, str(Path(__file__).with_name("gloo_launcher.py")), "--gloo"],
    "horovodrun --mpi": [sys.executable, "-m", "horovod.runner.launch", "--mpi"],
    # Waiting ranks yield: there may be fewer cores than ranks.
    "mpirun": ["mpirun", "--allow-run-as-root", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1"],
}


@dataclass
class Launch:
    code: int  # the launcher's exit code; -9 where it was ended from here
    output: str  # of all ranks; under horovodrun every line as `[1]<stdout>:...`
    left_behind: list[int]  # processes that were still there when the launcher ended (they are ended now)


class Job:
    """A launcher at work, and the ranks that it started."""

    def __init__(
        self,
        ranks: int,
        script: Path,
        *arguments: str,
        env: dict[str, str] | None = None,
        by: str = "horovodrun --gloo",
    ) -> None:
        self._mark = uuid.uuid4().hex
        self._output = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - closed by `end`
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "OMP_NUM_THREADS": "1",
            **(env or {}),
            MARK: self._mark,
        }
        command = [*LAUNCHERS[by], "-np", str(ranks), "-H", f"localhost:{ranks}"]
        self._process = subprocess.Popen(
            [*command, sys.executable, str(script), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def output(self, start: int = 0) -> str:
        """Return what launcher and ranks have written so far, from a byte on."""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), max(size - start, 0), start).decode(errors="replace")

    def written(self) -> int:
        """Return how many bytes launcher and ranks have written so far."""
        return os.fstat(self._output.fileno()).st_size

    def end(self, limit: float = 0) -> Launch:
        """Wait for the launcher to end, and end by force what is left after `limit` seconds."""
        try:
            code = self._process.wait(limit)
            time.sleep(0.5)  # ranks that it ended go
        except subprocess.TimeoutExpired:
            code = -9
        finally:
            left = marked(self._mark)
            for pid in [self._process.pid, *left] if self.running else left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
        ended = Launch(code, self.output(), [] if code == -9 else left)
        self._output.close()
        return ended


def launch(
    ranks: int,
    script: Path,
    *arguments: str,
    limit: float = 120,
    env: dict[str, str] | None = None,
    by: str = "horovodrun --gloo",
) -> Launch:
    """Run `script` on so many ranks of this machine, started by one of `LAUNCHERS`, until they end."""
    return Job(ranks, script, *arguments, env=env, by=by).end(limit)


def marked(mark: str) -> list[int]:
    """Return the processes with the mark in their environment: horovodrun gives ranks sessions of their own."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]
