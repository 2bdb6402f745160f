"""Ends a rank that is stuck. Horovod warns of ranks that are waited for, but waits on."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback

from kerasrec.parallel import comm

EXIT_CODE = 70
FAREWELL = 3  # seconds: the launcher ends the other ranks when one has left, and they may have more to say


class Watchdog:
    """Ends this process, and with it the job, when nobody has called `alive` for too long.

    A rank that is stuck in Python leaves the others waiting for it; each then says where it stands, so the stuck
    one shows. The clock runs between `start` and `stop`.

    Args:
        seconds: how long is too long.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._last = time.monotonic()
        self._stopped = threading.Event()
        self._watched = threading.main_thread().ident

    def start(self) -> None:
        self._stopped.clear()
        self._watched = threading.get_ident()
        self.alive()
        threading.Thread(target=self._watch, args=(self._stopped,), daemon=True, name="kerasrec-watchdog").start()

    def alive(self) -> None:
        self._last = time.monotonic()

    def stop(self) -> None:
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
            "(step_limit of kr.parallel.Callback), so this rank ends. Above is where it stands; one that stands "
            "elsewhere than in TensorFlow's execute is what the others wait for",
            file=sys.stderr,
            flush=True,
        )
        time.sleep(FAREWELL)
        os._exit(EXIT_CODE)
