"""How a rank ends after an uncaught error: at once, with its traceback and its number."""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

GRACE_SECONDS = 3  # how long a rank that fails because of another waits, so that the other's error is shown first
GLOO_LIMIT = "HOROVOD_GLOO_TIMEOUT_SECONDS"
# What Horovod says of its own collectives, and Gloo of the connections that they use.
_SHUT_DOWN = re.compile(r"Horovod has been shut down\. This was caused by an exception on one of the ranks")
_GLOO = re.compile(r"\[[^\s\]]*/gloo/[^\s\]]+:\d+\] ")
_OPERATION = re.compile(r"Horovod(Allgather|Allreduce|Alltoall|Broadcast|GroupedAllreduce|Join|Reducescatter)")

Hook = Callable[[type[BaseException], BaseException, Any], Any]


def end_job_on_uncaught_errors(rank: int, ranks: int) -> None:
    """Have this process end as `end_rank` does when an exception is not caught."""
    sys.excepthook = partial(end_rank, rank, ranks, sys.excepthook)


def end_rank(
    rank: int, ranks: int, show: Hook, kind: type[BaseException], error: BaseException, where: Any
) -> None:
    """End this process after an uncaught exception, without Horovod's shutdown, which waits for other ranks.

    The launcher then ends the others. A rank whose collective failed because another rank is gone waits a moment,
    so that the error of that rank is shown first.

    Args:
        rank, ranks: this process's number, and how many there are.
        show: prints the traceback; `sys.excepthook` as it was.
        kind, error, where: as Python hands them to `sys.excepthook`.
    """
    try:
        lost = is_lost(error)
        if lost:
            time.sleep(GRACE_SECONDS)
        try:
            show(kind, error, where)
        except Exception:
            traceback.print_exception(kind, error, where)
        reason = _why_lost() if lost else f"{kind.__name__}: {_text(error)}"
        print(f"rank {rank} of {ranks}: {reason}", file=sys.stderr, flush=True)
        sys.stdout.flush()
    finally:
        os._exit(1)


def is_lost(error: BaseException | None) -> bool:
    """Return whether an error, or one that it was raised from, comes from a collective that another rank has left.

    Such an error is Horovod's, or TensorFlow's of an operation of Horovod's. Any other is this rank's own,
    whatever its text contains: a path, or the answer of a store of files.
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
    """Return for how many seconds Gloo waits for a rank that is paused or unreachable before it ends the job."""
    return os.environ.get(GLOO_LIMIT) or "30"


def _why_lost() -> str:
    return (
        "stopped, because another rank ended or did not answer. If no rank shows an error of its own, one was "
        f"paused or unreachable for longer than Gloo waits ({gloo_limit()} seconds): set "
        f"{GLOO_LIMIT} to wait longer"
    )


def _kinds(module: str, name: str) -> tuple[type[BaseException], ...]:
    """Return a class of exceptions by name, or nothing where its module was not imported, so cannot raise it."""
    value: Any = sys.modules.get(module)
    for part in name.split("."):
        value = getattr(value, part, None)
    return () if value is None else (value,)


def _text(error: BaseException) -> str:
    try:
        return " ".join(str(error).split())
    except Exception as another:
        return f"(its text is not available: {type(another).__name__})"
