"""Calling a function on several items at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TypeVar

WAIT = 0.5  # seconds, after which Python looks for Ctrl-C

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(function: Callable[[T], R], items: Iterable[T], threads: int) -> list[R]:
    """Return `[function(item) for item in items]`, computed for several items at a time.

    An exception is raised when all threads are done with their current item, that of the first item if there are
    several. Unlike those of `concurrent.futures`, the threads are daemons, so Ctrl-C does not wait for them: an
    item may be waiting for a server."""
    todo = [(item, Future[R]()) for item in items]
    remaining = iter(todo)  # shared: a list's iterator gives each item to one thread only

    def work() -> None:
        for item, done in remaining:
            try:
                done.set_result(function(item))
            except BaseException as error:
                done.set_exception(error)
                stop_starting()

    def stop_starting() -> None:
        list(remaining)

    workers = [
        threading.Thread(target=work, name="kerasrec-side-by-side", daemon=True)
        for _ in range(min(threads, len(todo)))
    ]
    for thread in workers:
        thread.start()
    try:
        for thread in workers:
            while thread.is_alive():  # Polars makes system calls go on after Ctrl-C
                thread.join(WAIT)
    finally:
        stop_starting()
    return [done.result() for _, done in todo]
