"""One background thread that stays a few items ahead."""

from __future__ import annotations

import threading
from collections.abc import Generator
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


def prefetch(items: Generator[T, Any, Any], depth: int) -> Generator[T, None, None]:
    """The same items, made in a background thread while the consumer works on earlier ones.

    At most `depth` items are ready or being made beyond the one that the consumer has. An exception in `items` is
    raised here. Closing this generator, as leaving a for loop early does, ends the thread and closes `items`.
    """
    ready: SimpleQueue[tuple[bool, Any]] = SimpleQueue()  # (whether it is an item, the item or what ended them)
    room = threading.Semaphore(depth)
    stop = threading.Event()

    def work() -> None:
        try:
            while True:
                room.acquire()
                if stop.is_set():
                    return
                ready.put((True, next(items)))
        except BaseException as end:
            ready.put((False, end))
        finally:
            items.close()

    thread = threading.Thread(target=work, name="kerasrec-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            alive, item = ready.get()
            room.release()
            if alive:
                yield item
            elif isinstance(item, StopIteration):
                return
            else:
                raise item
    finally:
        stop.set()
        room.release()
        thread.join()
