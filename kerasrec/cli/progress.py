"""A bar a stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column


class Stage:
    """One bar while its work runs; `seconds` once it is done."""

    def __init__(self, progress: Progress, task: TaskID):
        self._progress, self._task = progress, task
        self.seconds = 0.0

    def advance(self, amount: float, said: str | None = None) -> None:
        self._progress.advance(self._task, amount)
        if said is not None:
            self.say(said)

    def say(self, text: str) -> None:
        """What stands beside the bar."""
        self._progress.update(self._task, said=text)


@contextmanager
def stage(console: Console, name: str, total: float | None = None) -> Iterator[Stage]:
    """A bar of `total` steps, or without a total one that only shows that work goes on.

    Where the output is no terminal, one line says at the end what was done.

    >>> with stage(Console(), "loading", total=3) as loading:
    ...     for _ in range(3):
    ...         loading.advance(1, said="another one")
    """
    fixed = Column(no_wrap=True, min_width=7)
    progress = Progress(
        TextColumn("{task.description:<18}", table_column=Column(no_wrap=True, min_width=18)),
        BarColumn(bar_width=20, table_column=Column(min_width=10)),
        TimeElapsedColumn(table_column=fixed),
        TextColumn("{task.fields[said]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=console,
    )
    with progress:
        task = progress.add_task(name, total=total, said="")
        running, started = Stage(progress, task), time.perf_counter()
        yield running
        running.seconds = time.perf_counter() - started
        progress.update(task, total=total or 1, completed=total or 1)
