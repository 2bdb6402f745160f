"""`kerasrec run`: start a training script, on one rank or several, and restart it when it fails."""

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
from kerasrec.cli.errors import CommandError

GRACE = 30  # seconds that a script has to end after a signal
PAUSE = 1  # seconds before a restart, for the other ranks to end
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What horovodrun and kerasrec's ranks print when one of them ends.
_RANK = re.compile(rb"Process name: (\d+)")
_STATUS = re.compile(rb"^Exit code: (\d+)")
_REASON = re.compile(rb"^\[(\d+)\]<stderr>:rank \d+ of \d+: (?!stopped, because)(.*)")


@dataclass
class Ending:
    """How a job ended: the script's exit status, as a shell reports it, and which of several ranks ended first."""

    status: int = 0
    rank: int | None = None
    reason: str | None = None

    def __str__(self) -> str:
        subject = "the script" if self.rank is None else f"rank {self.rank}"
        if signal_name := _signal_of(self.status):
            return f"{subject} was ended by {signal_name}"
        return f"{subject} ended with status {self.status}" + (f" ({self.reason})" if self.reason else "")


def run_job(script: Path, arguments: Sequence[str], ranks: int, hosts: str | None, restarts: int) -> int:
    """Run a script until it succeeds, or fails too often without a new checkpoint; return its exit status.

    Args:
        script: a Python file.
        arguments: the script's arguments.
        ranks: number of processes; several are started by horovodrun.
        hosts: hosts in horovodrun's form, host:2,other:2; None is this machine.
        restarts: how many restarts without a new checkpoint are allowed.

    Raises:
        CommandError: the file does not exist, or several ranks are asked for and Horovod is not installed.
    """
    command = _command(script, arguments, ranks, hosts)
    with tempfile.TemporaryDirectory(prefix="kerasrec-run-") as folder:
        status = Path(folder) / "status.json"
        failures, last_checkpoint = 0, None
        while True:
            job = _Job(command, ranks, status)
            ending = job.run()
            if ending.status == 0 or job.stopped:
                return ending.status
            checkpoint = _latest_checkpoint(status)
            if checkpoint is None and _signal_of(ending.status) is None:
                _log(f"{ending} before its first checkpoint (kr.callbacks.Checkpoint); it is not restarted")
                return ending.status
            failures = failures + 1 if checkpoint == last_checkpoint else 1
            last_checkpoint = checkpoint
            if failures > restarts:
                detail = f" after {restarts} restarts without a new checkpoint" if restarts else ""
                _log(f"{ending}; giving up{detail}")
                return ending.status
            start = "the beginning"
            if checkpoint is not None:
                start = f"batch {checkpoint[1]:,}, the latest in {checkpoint[0]}"
            _log(f"{ending}; restart {failures} of {restarts}, from {start}")
            time.sleep(PAUSE)


class _Job:
    """One run of the script."""

    def __init__(self, command: Sequence[str], ranks: int, status: Path):
        self.command, self.ranks, self.status = command, ranks, status
        self.stopped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._kill_time: float | None = None

    def run(self) -> Ending:
        ending = Ending()
        with self._forward_signals():
            process = self._process = subprocess.Popen(
                self.command,
                env={**os.environ, STATUS: str(self.status)},
                stderr=subprocess.PIPE if self.ranks > 1 else None,
                start_new_session=True,  # Ctrl-C reaches it once, through this process
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
                if self._kill_time is not None and time.monotonic() > self._kill_time:
                    self._send(signal.SIGKILL)

    @contextmanager
    def _forward_signals(self) -> Iterator[None]:
        forwarded = [*STOPS, *((signal.SIGUSR1, signal.SIGUSR2) if self.ranks == 1 else ())]
        before = {number: signal.signal(number, self._forward) for number in forwarded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _forward(self, number: int, frame: Any) -> None:
        if number in STOPS:
            again = self.stopped and number == signal.SIGINT
            self.stopped = True
            self._kill_time = time.monotonic() + (0 if again else GRACE)
        self._send(number)

    def _send(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)


def _command(script: Path, arguments: Sequence[str], ranks: int, hosts: str | None) -> list[str]:
    if not script.is_file():
        raise CommandError(f"there is no script {script}")
    command = [sys.executable, str(script), *arguments]
    if ranks == 1 and hosts is None:
        return command
    if find_spec("horovod") is None:
        raise CommandError(
            "several ranks need Horovod, which is not installed; run: python -m kerasrec.parallel.horovod_wheel"
        )
    return [
        *(sys.executable, "-m", "horovod.runner.launch"),
        *("-np", str(ranks), "-H", hosts or f"localhost:{ranks}"),
        *command,
    ]


def _listen(stream: IO[bytes], ending: Ending) -> None:
    """Forward what horovodrun and the ranks print, and find which rank ended first, how and why."""
    reasons: dict[int, str] = {}
    for line in stream:
        sys.stderr.buffer.write(line)
        sys.stderr.flush()
        if match := _REASON.match(line):
            reasons.setdefault(int(match[1]), match[2].decode(errors="replace").strip())
        elif match := _RANK.search(line):
            ending.rank = int(match[1])
        elif match := _STATUS.match(line):
            ending.status = int(match[1])
    ending.reason = None if ending.rank is None else reasons.get(ending.rank)


def _latest_checkpoint(status: Path) -> tuple[str, int] | None:
    """Return the folder and the batch of the latest checkpoint that the script reported."""
    try:
        report = json.loads(status.read_text())
        return report["folder"], report["step"]
    except (OSError, ValueError):
        return None


def _signal_of(status: int) -> str | None:
    """Return the name of the signal that ended a process with this status."""
    try:
        return signal.Signals(status - 128).name if status > 128 else None
    except ValueError:
        return None


def _end_with_parent() -> None:
    """Make Linux end the job if this process is killed by a signal that it cannot forward."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _log(text: str) -> None:
    print(f"kerasrec run: {text}", file=sys.stderr, flush=True)
