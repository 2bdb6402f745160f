"""A bar a stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Stage:
    """One bar while its work runs; `seconds` once it is done."""

    def __init__(self, progress: Progress, task: TaskID):
        self._progress, self._task = progress, task
        self.seconds = 0.0

    def advance(self, amount: float = 1, said: str | None = None) -> None:
        self._progress.update(self._task, advance=amount)
        if said is not None:
            self.say(said)

    def say(self, text: str) -> None:
        """What stands beside the bar."""
        self._progress.update(self._task, said=text)


class Stages:
    """Bars one below the other.

    >>> with Stages(Console()) as stages:
    ...     with stages("loading", total=3) as stage:
    ...         for _ in range(3):
    ...             stage.advance(said="another one")
    """

    def __init__(self, console: Console):
        self._progress = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=28),
            TimeElapsedColumn(),
            TextColumn("{task.fields[said]}"),
            console=console,
        )

    def __enter__(self) -> Stages:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextmanager
    def __call__(self, name: str, total: float | None = None) -> Iterator[Stage]:
        """A bar of `total` steps, or one that only shows that work goes on."""
        task = self._progress.add_task(name, total=total, said="")
        stage, started = Stage(self._progress, task), time.perf_counter()
        yield stage
        stage.seconds = time.perf_counter() - started
        self._progress.update(task, total=total or 1, completed=total or 1)
