"""`Watchdog` ends a rank that is stuck; Horovod warns when others wait for it, but goes on waiting."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback

from kerasrec.parallel import comm

EXIT_CODE = 70
GRACE_SECONDS = 3  # the launcher ends the other ranks when one has ended, and they may have more to print


class Watchdog:
    """Ends this process, and with it the job, when `alive` has not been called for a number of seconds.

    A rank that is stuck in Python leaves the others waiting for it; each then prints where it stands, which shows
    the stuck one. The clock runs between `start` and `stop`.

    Args:
        seconds: the longest time between two calls of `alive`.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._last = time.monotonic()
        self._stopped = threading.Event()
        self._watched = threading.main_thread().ident

    def start(self) -> None:
        """Start the clock, for the thread that calls it."""
        self._stopped.clear()
        self._watched = threading.get_ident()
        self.alive()
        threading.Thread(target=self._watch, args=(self._stopped,), daemon=True, name="kerasrec-watchdog").start()

    def alive(self) -> None:
        """Start the clock anew."""
        self._last = time.monotonic()

    def stop(self) -> None:
        """Stop the clock."""
        self._stopped.set()
        self._stopped = threading.Event()

    def _watch(self, stopped: threading.Event) -> None:
        while not stopped.wait(min(1.0, self.seconds / 4)):
            if time.monotonic() - self._last > self.seconds:
                stack = traceback.extract_stack(sys._current_frames().get(self._watched or 0))
                self._end("".join(traceback.format_list(stack[-4:])))

    def _end(self, where: str) -> None:
        print(
            f"{where}rank {comm.rank()} of {comm.size()}: no step has begun for {self.seconds:g} seconds "
            "(step_limit of kr.parallel.Callback), so this rank ends. Above is where it stands; the others wait "
            "for a rank that stands elsewhere than in TensorFlow's execute",
            file=sys.stderr,
            flush=True,
        )
        time.sleep(GRACE_SECONDS)
        os._exit(EXIT_CODE)
