"""Ranks that stay up from test to test: real processes under one `horovodrun`, fed one function after another."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import rank_server
from launch import Job, Launch

GRACE = 20.0  # seconds that other ranks have once one of them has failed


@dataclass
class Answers:
    """What a function returned, rank by rank, and what was written meanwhile."""

    returned: list[Any]
    output: str  # every line as `[1]<stdout>:...`


class Ranks:
    """So many ranks of one job. A function that fails or hangs on any of them ends the job."""

    def __init__(self, size: int, by: str = "horovodrun --gloo", limit: float = 120) -> None:
        self.size, self._cases, self._ended = size, 0, False
        self._connections: list[Connection] = []
        self._folder = tempfile.TemporaryDirectory(prefix="ranks-")
        address = str(Path(self._folder.name) / "socket")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(address)
            listening.listen(size)
            listening.settimeout(0.1)
            self._job = Job(size, Path(rank_server.__file__), address, by=by)
            self._connections = self._connected(listening, limit)

    def _connected(self, listening: socket.socket, limit: float) -> list[Connection]:
        """Return a connection to each rank, once all of them are up."""
        connections: dict[int, Connection] = {}
        until = time.monotonic() + limit
        while len(connections) < self.size:
            if not self.alive or time.monotonic() > until:
                raise AssertionError(f"{self.size} ranks do not start:\n{self.kill().output[-6000:]}")
            with suppress(TimeoutError):
                connection = Connection(listening.accept()[0].detach())
                connections[connection.recv()] = connection
        return [connections[rank] for rank in range(self.size)]

    @property
    def alive(self) -> bool:
        return not self._ended and self._job.running

    def run(self, function: Callable[..., Any], *arguments: Any, limit: float = 300) -> Answers:
        """Call a function of a module on every rank."""
        start = self._job.written()
        self._ask(function, arguments)
        answers: dict[int, tuple[str, Any]] = {}
        until = time.monotonic() + limit
        while len(answers) < self.size and (left := until - time.monotonic()) > 0:
            for rank in self._ready(answers, left):
                try:
                    answers[rank] = self._connections[rank].recv()
                except (EOFError, ConnectionError):
                    answers[rank] = "ended", "the process has ended"
                if answers[rank][0] != "returned":
                    until = min(until, time.monotonic() + GRACE)
        if [how for how, _ in answers.values()] != ["returned"] * self.size:
            told = [f"rank {rank} {how}: {what}" for rank, (how, what) in answers.items() if how != "returned"]
            told += [f"rank {rank} gave no answer" for rank in range(self.size) if rank not in answers]
            output = self.kill().output.encode()[start:].decode(errors="replace")
            raise AssertionError("\n".join([f"{function.__name__}:", *told, output[-6000:]]))
        return Answers([answers[rank][1] for rank in range(self.size)], self._written(start))

    def run_to_the_end(self, function: Callable[..., Any], *arguments: Any, limit: float = 120) -> Launch:
        """Call a function that is to end the job, and return how it ended; there are no such ranks any more."""
        self._ask(function, arguments)
        return self._end(limit)

    def stop(self) -> None:
        """Let every rank leave in good order, if the job has not ended."""
        if self._ended:
            return
        for connection in self._connections:
            with suppress(ConnectionError):
                connection.send(None)
        ended = self._end(60)
        assert ended.code == 0, ended.output[-6000:]
        assert not ended.left_behind

    def kill(self) -> Launch:
        """End the job by force."""
        return self._end(0)

    def _end(self, limit: float) -> Launch:
        ended, self._ended = self._job.end(limit), True
        for connection in self._connections:
            connection.close()
        self._folder.cleanup()
        return ended

    def _ask(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._cases += 1
        for connection in self._connections:
            connection.send((self._cases, function.__module__, function.__name__, arguments))

    def _ready(self, answers: dict[int, Any], limit: float) -> list[int]:
        waiting = {self._connections[rank]: rank for rank in range(self.size) if rank not in answers}
        return [waiting[connection] for connection in wait(list(waiting), limit)]  # type: ignore[index]

    def _written(self, start: int) -> str:
        """Return the output from there on, once the launcher has passed on all of it."""
        mark, until = f"<end of case {self._cases}>", time.monotonic() + 30
        while (output := self._job.output(start)).count(mark) < 2 * self.size:
            assert time.monotonic() < until, output[-6000:]
            time.sleep(0.005)
        return "".join(line for line in output.splitlines(keepends=True) if mark not in line)


class KeptRanks:
    """At most one job of ranks at a time, kept as long as the same number of ranks is wanted."""

    def __init__(self) -> None:
        self._ranks: Ranks | None = None

    def of(self, size: int) -> Ranks:
        """Return `size` ranks: those that are there, or else new ones."""
        self.keep_only(size)
        if self._ranks is None:
            self._ranks = Ranks(size)
        self._ranks.run(rank_server.clear)
        return self._ranks

    def keep_only(self, size: int | None) -> None:
        """Let ranks go that are not so many, or whose job has ended."""
        ranks, self._ranks = self._ranks, None
        if ranks is not None and ranks.alive and ranks.size == size:
            self._ranks = ranks
        elif ranks is not None:
            ranks.stop()
