"""Count scores, and find which columns are among the best of a row: what an evaluation does with blocks of scores.

The loops are compiled (`ranks.cc`), so that they take little beside the product of matrices that makes the scores;
without a compiler NumPy computes the same.
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from kerasrec.kernels import build

_log = logging.getLogger("kerasrec")


@cache
def compiled() -> ctypes.CDLL | None:
    """Return the compiled library, whose functions release Python's lock; None if it cannot be compiled."""
    if os.environ.get("KERASREC_KERNELS") == "0":
        return None
    try:
        return build.load("ranks.cc", ctypes.CDLL)
    except OSError as error:
        _log.warning("cannot compile kerasrec's loops for ranking, so that evaluation is slower: %s", error)
        return None


def count_reaching(scores: np.ndarray, rows: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Return how many scores of a row reach each bound, (n,) int64.

    Args:
        scores: (rows, m) float32 or float64, in C order.
        rows: (n,), the row of each bound.
        bounds: (n,) floats.
    """
    bounds = np.ascontiguousarray(bounds, scores.dtype)
    if (library := compiled()) is None:
        return np.array([np.count_nonzero(scores[i] >= bound) for i, bound in zip(rows, bounds, strict=True)], int)
    counts = np.empty(len(rows), np.int64)
    rows = np.ascontiguousarray(rows, np.int64)
    _call(library, "count_reaching", scores, scores.shape[1], rows, bounds, len(rows), counts)
    return counts


def cover(scores: np.ndarray, at: Sequence[int], levels: np.ndarray) -> None:
    """Mark the columns that are among the best of any row; of equal scores the first ones are, and -inf never.

    Args:
        scores: (rows, m) float32 or float64, in C order.
        at: numbers k, ascending, at most 255 of them.
        levels: (m,) uint8, of how many of the k, from the greatest on, a column was among the k best of a row
            before; it is brought up to date.
    """
    if (library := compiled()) is None:
        order = np.argsort(-scores, axis=1, kind="stable")
        for level, k in enumerate(reversed(at), 1):
            best = order[:, :k]
            best = best[np.take_along_axis(scores, best, axis=1) > -np.inf]
            levels[best] = np.maximum(levels[best], level)
        return
    ascending = np.array(at, np.int64)
    _call(library, "cover", scores, len(scores), scores.shape[1], ascending, len(ascending), levels)


def _call(library: ctypes.CDLL, name: str, scores: np.ndarray, *arguments: Any) -> None:
    """Call the function for the type of the scores, with arrays as their addresses."""
    values = [
        ctypes.c_void_p(item.ctypes.data) if isinstance(item, np.ndarray) else ctypes.c_int64(item)
        for item in (scores, *arguments)
    ]
    getattr(library, f"{name}_{8 * scores.dtype.itemsize}")(*values)
