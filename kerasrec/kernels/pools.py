"""Rows out of columns, and columns out of rows in any order: how the loader permutes a pool of rows.

Row by row in memory, fetching a row in random order touches two or three cache lines instead of one a column.
Compiled (`pools.cc`), or by NumPy where that cannot be: in many short steps that each ask for Python's lock.
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
_STEP = 4096  # rows that NumPy takes at a time, so that they stay in the cache


@cache
def compiled() -> ctypes.CDLL | None:
    """The compiled library, whose functions run without Python's lock; or None."""
    if os.environ.get("KERASREC_KERNELS") == "0":
        return None
    try:
        return build.load("pools.cc", ctypes.CDLL)
    except OSError as error:
        _log.warning("data is shuffled without kerasrec's compiled loops, somewhat slower: %s", error)
        return None


def interleave(columns: Sequence[np.ndarray], out: np.ndarray) -> None:
    """Fill `out` (rows, columns), C-contiguous, with columns (rows,) of its dtype."""
    if (library := compiled()) is None:
        for start in range(0, len(out), _STEP):
            for j, column in enumerate(columns):
                out[start : start + _STEP, j] = column[start : start + _STEP]
        return
    columns = [np.ascontiguousarray(column) for column in columns]
    _call(library, "interleave", out.dtype, _addresses(columns), len(columns), len(out), out)


def gather(pool: np.ndarray, order: np.ndarray, outs: Sequence[np.ndarray]) -> None:
    """Fill `outs`, each (some of the columns, len(order)), one after another with pool[order].T.

    Args:
        pool: (rows, columns), C-contiguous.
        order: of rows, all in range.
        outs: of the pool's dtype; their rows are contiguous.
    """
    if (library := compiled()) is None:
        part = np.empty((_STEP, pool.shape[1]), pool.dtype)
        for start in range(0, len(order), _STEP):
            some = order[start : start + _STEP]
            # The default mode would check each index and write through a buffer.
            np.take(pool, some, axis=0, out=part[: len(some)], mode="clip")
            first = 0
            for out in outs:
                out[:, start : start + _STEP] = part[: len(some), first : (first := first + len(out))].T
        return
    places = np.concatenate([out.ctypes.data + out.strides[0] * np.arange(len(out)) for out in outs])
    order = np.ascontiguousarray(order, "int64")
    _call(library, "gather", pool.dtype, pool, pool.shape[1], order, len(order), places)


def gather_lists(values: np.ndarray, starts: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Lists one after another: list i has `offsets[i + 1] - offsets[i]` of `values`, from `starts[i]` on.

    Args:
        values: (n,), contiguous.
        starts, offsets: int64 (lists,) and (lists + 1,); `offsets` begins with 0.
    """
    if (library := compiled()) is None:
        places = np.repeat(starts - offsets[:-1], np.diff(offsets))
        return values[places + np.arange(offsets[-1])]
    out = np.empty(offsets[-1], values.dtype)
    values, starts = np.ascontiguousarray(values), np.ascontiguousarray(starts, "int64")
    _call(
        library,
        "gather_lists",
        out.dtype,
        values,
        starts,
        np.ascontiguousarray(offsets, "int64"),
        len(starts),
        out,
    )
    return out


def _addresses(columns: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([column.ctypes.data for column in columns], "int64")


def _call(library: ctypes.CDLL, name: str, dtype: np.dtype, *arguments: Any) -> None:
    """By the size of an item; arrays as their addresses."""
    kinds = [
        ctypes.c_void_p(each.ctypes.data) if isinstance(each, np.ndarray) else ctypes.c_int64(each)
        for each in arguments
    ]
    getattr(library, f"{name}_{8 * dtype.itemsize}")(*kinds)
