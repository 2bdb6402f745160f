"""A background thread that computes items ahead of their use."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Generator
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from kerasrec.data.threads import WAIT

T = TypeVar("T")

PATIENCE = 5.0  # seconds to wait for the thread to end; it may be waiting for a server


def prefetch(items: Generator[T, Any, Any], depth: int) -> Generator[T, None, None]:
    """Yield the same items, computed in a background thread while the consumer works on earlier ones.

    At most `depth` items are ready or being computed beyond the one that the consumer has. An exception in
    `items` is raised here. Closing this generator, as leaving a for loop early does, ends the thread and closes
    `items`. It waits for that no longer than `PATIENCE`, so that Ctrl-C does not wait for a file that never
    comes."""
    ahead = _Ahead(items, depth)
    try:
        while True:
            alive, item = ahead.next_item()
            ahead.room.release()
            if alive:
                yield item
            elif isinstance(item, StopIteration):
                return
            else:
                raise item
    finally:
        ahead.end()


class _Ahead(Generic[T]):
    """The thread, and what it exchanges with the consumer."""

    def __init__(self, items: Generator[T, Any, Any], depth: int):
        self.items = items
        # (True, an item), or (False, the exception that ended them)
        self.ready: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        self.room = threading.Semaphore(depth)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.work, name="kerasrec-prefetch", daemon=True)
        self.thread.start()
        _running.add(self)

    def work(self) -> None:
        try:
            while True:
                self.room.acquire()
                if self.stop.is_set():
                    return
                self.ready.put((True, next(self.items)))
        except BaseException as end:
            self.ready.put((False, end))
        finally:
            self.items.close()

    def next_item(self) -> tuple[bool, Any]:
        """Wait for an item or the end.

        Polars makes system calls go on after Ctrl-C, so Python learns of it only when a wait ends by itself.
        """
        while True:
            try:
                return self.ready.get(timeout=WAIT)
            except Empty:
                continue

    def end(self) -> None:
        self.request_stop()
        self.thread.join(PATIENCE)
        _running.discard(self)

    def request_stop(self) -> None:
        self.stop.set()
        self.room.release()


_running: WeakSet[_Ahead] = WeakSet()


@atexit.register
def _end_all() -> None:
    """End all threads when Python exits.

    A thread of TensorFlow that then waits for an item would wait forever, and so would the process.
    """
    running = list(_running)
    for ahead in running:
        ahead.request_stop()
    until = time.monotonic() + PATIENCE
    for ahead in running:
        ahead.thread.join(max(0.0, until - time.monotonic()))
        ahead.ready.put((False, StopIteration()))
    if running:
        time.sleep(0.1)  # for such a thread to return from Python
