"""Work on several things at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(function: Callable[[T], R], items: Iterable[T], threads: int) -> list[R]:
    """`[function(item) for item in items]`, on so many items at a time.

    An exception is raised as soon as all threads are done with what they were at; of several, that of the first
    item. Unlike those of `concurrent.futures`, the threads are daemons, for which Ctrl-C does not wait: an item
    may be waiting for a server.
    """
    todo = [(item, Future[R]()) for item in items]
    left = iter(todo)  # the threads share it: a list's iterator gives each item to one of them

    def work() -> None:
        for item, done in left:
            try:
                done.set_result(function(item))
            except BaseException as error:
                done.set_exception(error)
                begin_no_more()

    def begin_no_more() -> None:
        list(left)

    working = [
        threading.Thread(target=work, name="kerasrec-side-by-side", daemon=True)
        for _ in range(min(threads, len(todo)))
    ]
    for thread in working:
        thread.start()
    try:
        for thread in working:
            thread.join()
    finally:
        begin_no_more()
    return [done.result() for _, done in todo]
