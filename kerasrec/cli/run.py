"""`kerasrec run`: start a training script, on one rank or several, and start it again when it fails."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from kerasrec.callbacks.progress import STATUS
from kerasrec.cli.errors import Refused

GRACE = 30  # seconds that a script has to end after a signal
PAUSE = 1  # seconds before it is started again: the ranks that are left have to go
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What horovodrun and kerasrec's ranks say when one of them ends.
_FIRST = re.compile(rb"Process name: (\d+)")
_CODE = re.compile(rb"^Exit code: (\d+)")
_WHY = re.compile(rb"^\[(\d+)\]<stderr>:rank \d+ of \d+: (?!stopped, because)(.*)")


@dataclass
class Ending:
    """How a job ended: the script's exit status, as a shell tells it, and on several ranks which was first."""

    status: int = 0
    rank: int | None = None
    why: str | None = None

    def __str__(self) -> str:
        who = "the script" if self.rank is None else f"rank {self.rank}"
        if by := _signal_of(self.status):
            return f"{who} was ended by {by}"
        return f"{who} ended with status {self.status}" + (f" ({self.why})" if self.why else "")


def run_job(script: Path, arguments: Sequence[str], ranks: int, hosts: str | None, restarts: int) -> int:
    """Run a script until it ends well, or fails too often without a new checkpoint; returns its exit status.

    Args:
        script: a Python file.
        arguments: what it is given.
        ranks: how many processes; several are started by horovodrun.
        hosts: where, as horovodrun takes it; this machine by default.
        restarts: how often it is started again before it saves another checkpoint.

    Raises:
        Refused: the file does not exist, or Horovod, which several ranks need, is not installed.
    """
    command = _command(script, arguments, ranks, hosts)
    with tempfile.TemporaryDirectory(prefix="kerasrec-run-") as folder:
        status = Path(folder) / "status.json"
        failures, before = 0, None
        while True:
            job = _Job(command, ranks, status)
            ending = job.run()
            if ending.status == 0 or job.stopped:
                return ending.status
            now = _saved(status)
            if now is None and _signal_of(ending.status) is None:
                _say(f"{ending} before its first checkpoint (kr.callbacks.Checkpoint): not started again")
                return ending.status
            failures = failures + 1 if now == before else 1
            before = now
            if failures > restarts:
                without = f" after {restarts} restarts without a new checkpoint" if restarts else ""
                _say(f"{ending}; giving up{without}")
                return ending.status
            where = "from the beginning" if now is None else f"from batch {now[1]:,}, the latest in {now[0]}"
            _say(f"{ending}; restart {failures} of {restarts}, {where}")
            time.sleep(PAUSE)


class _Job:
    """One start of the script."""

    def __init__(self, command: Sequence[str], ranks: int, status: Path):
        self.command, self.ranks, self.status = command, ranks, status
        self.stopped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._limit: float | None = None

    def run(self) -> Ending:
        ending = Ending()
        with self._passing_signals_on():
            process = self._process = subprocess.Popen(
                self.command,
                env={**os.environ, STATUS: str(self.status)},
                stderr=subprocess.PIPE if self.ranks > 1 else None,
                start_new_session=True,  # a Ctrl-C reaches it once, through here
                preexec_fn=_end_with_parent,
            )
            reader = None
            if process.stderr is not None:
                reader = threading.Thread(target=_listen, args=(process.stderr, ending), daemon=True)
                reader.start()
            code = self._wait(process)
            if reader is not None:
                reader.join(timeout=5)
        if self.ranks == 1 or not ending.status:
            ending.status = 128 - code if code < 0 else code
        return ending

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        while True:
            try:
                return process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                if self._limit is not None and time.monotonic() > self._limit:
                    self._send(signal.SIGKILL)

    @contextmanager
    def _passing_signals_on(self) -> Iterator[None]:
        passed = [*STOPS, *((signal.SIGUSR1, signal.SIGUSR2) if self.ranks == 1 else ())]
        before = {number: signal.signal(number, self._pass_on) for number in passed}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_on(self, number: int, frame: Any) -> None:
        if number in STOPS:
            again = self.stopped and number == signal.SIGINT
            self.stopped = True
            self._limit = time.monotonic() + (0 if again else GRACE)
        self._send(number)

    def _send(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)


def _command(script: Path, arguments: Sequence[str], ranks: int, hosts: str | None) -> list[str]:
    if not script.is_file():
        raise Refused(f"there is no script {script}")
    command = [sys.executable, str(script), *arguments]
    if ranks == 1 and hosts is None:
        return command
    if find_spec("horovod") is None:
        raise Refused(
            "several ranks need Horovod, which is not installed; install it with: "
            "python -m kerasrec.parallel.horovod_wheel"
        )
    return [
        *(sys.executable, "-m", "horovod.runner.launch"),
        *("-np", str(ranks), "-H", hosts or f"localhost:{ranks}"),
        *command,
    ]


def _listen(stream: IO[bytes], ending: Ending) -> None:
    """Pass on what horovodrun and the ranks say, and hear which rank was first to end, how and why."""
    whys: dict[int, str] = {}
    for line in stream:
        sys.stderr.buffer.write(line)
        sys.stderr.flush()
        if found := _WHY.match(line):
            whys.setdefault(int(found[1]), found[2].decode(errors="replace").strip())
        elif found := _FIRST.search(line):
            ending.rank = int(found[1])
        elif found := _CODE.match(line):
            ending.status = int(found[1])
    ending.why = None if ending.rank is None else whys.get(ending.rank)


def _saved(status: Path) -> tuple[str, int] | None:
    """The folder and the batch of the latest checkpoint that the script has told of."""
    try:
        told = json.loads(status.read_text())
        return told["folder"], told["step"]
    except (OSError, ValueError):
        return None


def _signal_of(status: int) -> str | None:
    """The name of the signal that ended a process with this status."""
    try:
        return signal.Signals(status - 128).name if status > 128 else None
    except ValueError:
        return None


def _end_with_parent() -> None:
    """Have Linux end the job where this process is killed in a way that it cannot pass on."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _say(text: str) -> None:
    print(f"kerasrec run: {text}", file=sys.stderr, flush=True)
