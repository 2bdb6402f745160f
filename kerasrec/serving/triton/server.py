"""A Triton server as a child process."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from kerasrec.serving.triton.front import Front
from kerasrec.serving.triton.installation import Installation

STOP = 5  # seconds for requests in flight
READY = 300  # seconds until all models are loaded
LOOK = 0.5  # seconds between looks at the processes of models
LINES = 20  # of the log in an error
MAX_BODY = 64 << 20  # bytes of an HTTP request
STACK = 4  # bytes of a thread's stack per byte of a body


class ServerError(RuntimeError):
    """The server did not start; the message has the last lines of its log."""


@dataclass(frozen=True)
class Address:
    """Where a server listens: anyone who reaches `host` may send requests."""

    host: str = "127.0.0.1"
    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002

    @property
    def url(self) -> str:
        """The URL for this machine."""
        host = "127.0.0.1" if self.host == "0.0.0.0" else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.http}"


class Server:
    """A Triton server of a model repository, which ends with the `with` block.

    Args:
        repository: the models.
        address: where it listens.
        poll: whether it looks every second for new versions in the repository. (A SavedModel that is served from
            its own folder is watched by its `model.py`.)
        verbose: whether it logs everything, instead of warnings and errors.
        show: called with each line that it logs once it is ready. The lines before that are of no interest, unless
            it fails.

    Raises:
        NotInstalledError: Triton is not installed, or this Python lacks what it needs.
        ServerError: it ended before it was ready.

    Example:

    >>> with Server("repository/", Address(http=9000)) as server:
    ...     server.wait()
    """

    def __init__(
        self,
        repository: Path,
        address: Address,
        *,
        poll: bool = False,
        verbose: bool = False,
        show: Callable[[str], object] = sys.stderr.write,
    ):
        self.address = address
        self._show = show
        self._log: deque[str] = deque(maxlen=LINES)
        self._ready, self._closing = threading.Event(), threading.Event()
        self._installation, self._upstream = Installation.find(), free_port()
        self._arguments = [
            f"--model-repository={repository}",
            "--http-address=127.0.0.1",
            f"--http-port={self._upstream}",
            f"--grpc-address={address.host}",
            f"--grpc-port={address.grpc}",
            f"--metrics-address={address.host}",
            f"--metrics-port={address.metrics}",
            "--disable-auto-complete-config",
            f"--exit-timeout-secs={STOP}",
            "--allow-gpu-metrics=false",
            f"--log-info={str(verbose).lower()}",
            *(["--model-control-mode=poll", "--repository-poll-secs=1"] if poll else []),
        ]
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        with ExitStack() as stack:
            self._backends = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kerasrec-backends-")))
            self._installation.write_backends(self._backends)
            stack.callback(self._stop)
            limit = self._start()
            stack.enter_context(Front(self.address.host, self.address.http, self._upstream, limit // STACK))
            self._stack = stack.pop_all()
        return self

    def _start(self) -> int:
        """Start Triton, wait until it is ready, and return the bytes of its threads' stacks."""
        program = str(self._installation.folder / "bin" / "tritonserver")
        with stack_limit(STACK * MAX_BODY) as limit:
            self._process = subprocess.Popen(
                [program, f"--backend-directory={self._backends}", *self._arguments],
                env=self._installation.environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this process, which then ends the server
            )
        threading.Thread(target=self._read_log, args=[self._process], daemon=True).start()
        self._wait_until_ready()
        self._ready.set()
        return limit

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        self._stack.close()

    @property
    def process_id(self) -> int:
        """The id of Triton's process, which is that of a process group with those of the models."""
        return self._running.pid

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def wait(self) -> int:
        """Wait until the server ends by itself, and return its exit code.

        Meanwhile, where the process of a model ends, which Triton does not start again, Triton is started again.

        Raises:
            ServerError: it then ended before it was ready.
        """
        while (code := self._running.poll()) is None:
            if not self._closing.is_set() and lost_child(self._running.pid):
                self._show("the process of a model ended; Triton is started again\n")
                self._stop()
                self._start()
            time.sleep(LOOK)
        return code

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY
        while self._running.poll() is None:
            if time.monotonic() > deadline:
                raise ServerError(f"the server was not ready after {READY} s{self.last_lines()}")
            if self._answers("/v2/health/ready"):
                return
            time.sleep(0.05)
        raise ServerError(
            f"the server ended with code {self._running.returncode} before it was ready{self.last_lines()}"
        )

    def _answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._upstream}{path}", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _read_log(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            text = line.decode(errors="replace")
            self._log.append(text)
            if self._ready.is_set():
                self._show(text)

    def last_lines(self) -> str:
        """Return the last lines of the log, to be put after a message."""
        return f":\n{''.join(self._log)}".rstrip()

    def _stop(self) -> None:
        if self._process is None:
            return
        self._ready.clear()  # what it logs of its end is of no interest
        self._process.terminate()
        try:
            self._process.wait(STOP + 10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)  # and the processes of models
            self._process.wait()


@contextmanager
def stack_limit(size: int) -> Iterator[int]:
    """Give processes that start here threads with stacks of `size` bytes, or as much as is allowed; yield that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    limit = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_STACK, (limit, hard))
    try:
        yield limit
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))


def lost_child(parent: int) -> bool:
    """Return whether a child of a process has ended, which its parent has not noticed."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            state, ppid = file.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if int(ppid) == parent and state == "Z":
                return True
    return False


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
