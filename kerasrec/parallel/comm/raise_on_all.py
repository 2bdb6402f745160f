"""`raise_on_all`: an error on one rank is raised on every rank."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import TypeVar

from kerasrec.parallel import comm

T = TypeVar("T")
KINDS = (ValueError, OSError, FileNotFoundError, FileExistsError, MemoryError)


def raise_on_all(step: Callable[[], T]) -> T:
    """Run a step on every rank, and raise on all of them what it raises on any.

    Args:
        step: a function that may fail on some ranks; it must not wait for other ranks.

    Returns:
        What `step` returned on this rank.

    Raises:
        Exception: its own where it failed on this rank; elsewhere one of the same kind that names the rank.
    """
    if comm.size() == 1:
        return step()
    try:
        result, error = step(), None
    except Exception as failed:
        error = failed
    outcomes = comm.gather_objects(None if error is None else (type(error).__name__, str(error)))
    if error is not None:
        raise error
    for rank, outcome in enumerate(outcomes):
        if outcome is not None:
            kind = getattr(builtins, outcome[0], RuntimeError)
            kind = kind if kind in KINDS else RuntimeError
            raise kind(f"rank {rank}: {outcome[1]}")
    return result
