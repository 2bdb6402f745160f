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


def count_and_cover(
    scores: np.ndarray, offsets: np.ndarray, bounds: np.ndarray, at: Sequence[int], levels: np.ndarray
) -> np.ndarray:
    """Count the scores of each row that reach its bounds, and mark the columns that are among the best of any row.

    Both are done at once because a row of scores is in the processor's cache then. Of equal scores the first
    columns are the best, and -inf is never among them.

    Args:
        scores: (rows, m) float32 or float64, in C order.
        offsets: (rows + 1,) int64, where in `bounds` those of each row start.
        bounds: (n,) floats.
        at: numbers k, ascending, at most 255 of them; none if nothing is to be marked.
        levels: (m,) uint8, of how many of the k, from the greatest on, a column was among the k best of a row
            before; it is brought up to date.

    Returns:
        (n,) int64, one count per bound.
    """
    bounds = np.ascontiguousarray(bounds, scores.dtype)
    if (library := compiled()) is None:
        _cover(scores, at, levels)
        rows = np.repeat(np.arange(len(scores)), np.diff(offsets))
        return np.array([np.count_nonzero(scores[i] >= bound) for i, bound in zip(rows, bounds, strict=True)], int)
    counts, ascending = np.empty(len(bounds), np.int64), np.array(at, np.int64)
    values = [
        ctypes.c_void_p(item.ctypes.data) if isinstance(item, np.ndarray) else ctypes.c_int64(item)
        for item in (scores, *scores.shape, offsets, bounds, counts, ascending, len(ascending), levels)
    ]
    getattr(library, f"count_and_cover_{8 * scores.dtype.itemsize}")(*values)
    return counts


def _cover(scores: np.ndarray, at: Sequence[int], levels: np.ndarray) -> None:
    order = np.argsort(-scores, axis=1, kind="stable")
    for level, k in enumerate(reversed(at), 1):
        best = order[:, :k]
        best = best[np.take_along_axis(scores, best, axis=1) > -np.inf]
        levels[best] = np.maximum(levels[best], level)
