"""Progress bars, one per stage of a command."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column


class Stage:
    """A stage with its bar; `seconds` is how long it took, once it is over."""

    def __init__(self, progress: Progress, task: TaskID):
        self._progress, self._task = progress, task
        self.seconds = 0.0

    def advance(self, amount: float, text: str | None = None) -> None:
        self._progress.advance(self._task, amount)
        if text is not None:
            self.show(text)

    def show(self, text: str) -> None:
        """Show a text beside the bar."""
        self._progress.update(self._task, text=text)


@contextmanager
def stage(console: Console, name: str, total: float | None = None) -> Iterator[Stage]:
    """Show a bar of `total` steps; without a total, one that only shows that work goes on.

    If the output is not a terminal, print one line at the end.

    >>> with stage(Console(), "loading", total=3) as loading:
    ...     for _ in range(3):
    ...         loading.advance(1, text="another one")
    """
    elapsed = Column(no_wrap=True, min_width=7)
    progress = Progress(
        TextColumn("{task.description:<18}", table_column=Column(no_wrap=True, min_width=18)),
        BarColumn(bar_width=20, table_column=Column(min_width=10)),
        TimeElapsedColumn(table_column=elapsed),
        TextColumn("{task.fields[text]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=console,
    )
    with progress:
        task = progress.add_task(name, total=total, text="")
        current, started = Stage(progress, task), time.perf_counter()
        yield current
        current.seconds = time.perf_counter() - started
        progress.update(task, total=total or 1, completed=total or 1)
