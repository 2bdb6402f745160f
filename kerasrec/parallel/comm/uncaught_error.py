"""How a rank ends by an error that nobody caught: at once, with its traceback and its number."""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

FAREWELL = 3  # seconds that a rank waits which fails because of another: that one speaks first
GLOO_LIMIT = "HOROVOD_GLOO_TIMEOUT_SECONDS"
# What Horovod says of its own collectives, and Gloo of the connections that they use.
_SHUT_DOWN = re.compile(r"Horovod has been shut down\. This was caused by an exception on one of the ranks")
_GLOO = re.compile(r"\[[^\s\]]*/gloo/[^\s\]]+:\d+\] ")
_OPERATION = re.compile(r"Horovod(Allgather|Allreduce|Alltoall|Broadcast|GroupedAllreduce|Join|Reducescatter)")

Hook = Callable[[type[BaseException], BaseException, Any], Any]


def end_job_on_uncaught_errors(rank: int, ranks: int) -> None:
    """From now on, end this process at once by an exception that nobody catches, as `end_rank` does."""
    sys.excepthook = partial(end_rank, rank, ranks, sys.excepthook)


def end_rank(
    rank: int, ranks: int, show: Hook, kind: type[BaseException], error: BaseException, where: Any
) -> None:
    """End this process for an exception that nobody caught, without Horovod's farewell, which waits for others.

    The launcher then ends the others. A rank whose collective failed because another is gone lets that one speak
    first.

    Args:
        rank, ranks: this process's number, and how many there are.
        show: prints the traceback; `sys.excepthook` as it was.
        kind, error, where: as Python hands them to `sys.excepthook`.
    """
    try:
        lost = is_lost(error)
        if lost:
            time.sleep(FAREWELL)
        try:
            show(kind, error, where)
        except Exception:
            traceback.print_exception(kind, error, where)
        said = _why_lost() if lost else f"{kind.__name__}: {_text(error)}"
        print(f"rank {rank} of {ranks}: {said}", file=sys.stderr, flush=True)
        sys.stdout.flush()
    finally:
        os._exit(1)


def is_lost(error: BaseException | None) -> bool:
    """Whether an error, or what it says it was raised from, is of a collective that another rank has left.

    It is one of Horovod's, or of TensorFlow by an operation of Horovod's. An error of any other kind is this
    rank's own, whatever is in its text: a path, or what a store of files answered.
    """
    while error is not None:
        if isinstance(error, _kinds("horovod.common.exceptions", "HorovodInternalError")):
            return True
        if isinstance(error, _kinds("tensorflow", "errors.OpError")):
            text = str(error)
            if _SHUT_DOWN.search(text) or (_OPERATION.search(text) and _GLOO.search(text)):
                return True
        error = error.__cause__
    return False


def gloo_limit() -> str:
    """For how many seconds Gloo waits for a rank that is paused or cannot be reached, before it ends the job."""
    return os.environ.get(GLOO_LIMIT) or "30"


def _why_lost() -> str:
    return (
        "stopped, because another rank ended, or was silent for too long. If no rank shows an error of its own, "
        f"one was paused, or out of reach, for longer than Gloo waits: {gloo_limit()} seconds; set {GLOO_LIMIT} "
        "to wait longer"
    )


def _kinds(module: str, name: str) -> tuple[type[BaseException], ...]:
    """A class of exceptions by name, where its module was imported: nothing raises it elsewhere."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return () if found is None else (found,)


def _text(error: BaseException) -> str:
    try:
        return " ".join(str(error).split())
    except Exception as another:
        return f"(its text cannot be had: {type(another).__name__})"
