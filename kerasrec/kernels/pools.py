"""Convert columns to rows, and rows in any order to columns: how the loader shuffles a pool of rows.

If rows are contiguous, reading one in random order touches two or three cache lines instead of one per column.
The loops are compiled (`pools.cc`); without a compiler NumPy runs them in short steps that each take a lock.
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
_STEP = 4096  # rows that NumPy processes at a time, so that they stay in the cache


@cache
def compiled() -> ctypes.CDLL | None:
    """Return the compiled library, whose functions release Python's lock; None if it cannot be compiled."""
    if os.environ.get("KERASREC_KERNELS") == "0":
        return None
    try:
        return build.load("pools.cc", ctypes.CDLL)
    except OSError as error:
        _log.warning("cannot compile kerasrec's loops for shuffling, so it is somewhat slower: %s", error)
        return None


def interleave(columns: Sequence[np.ndarray], out: np.ndarray) -> None:
    """Fill `out` (rows, columns), C-contiguous, with columns (rows,) of the same dtype."""
    if (library := compiled()) is None:
        for start in range(0, len(out), _STEP):
            for j, column in enumerate(columns):
                out[start : start + _STEP, j] = column[start : start + _STEP]
        return
    columns = [np.ascontiguousarray(column) for column in columns]
    _call(library, "interleave", out.dtype, _addresses(columns), len(columns), len(out), out)


def gather(pool: np.ndarray, order: np.ndarray, outs: Sequence[np.ndarray]) -> None:
    """Write the columns of pool[order] to `outs`, one after another.

    Args:
        pool: (rows, columns), C-contiguous.
        order: (n,) row numbers, all in range.
        outs: arrays (columns, n) with the pool's columns between them, of its dtype, with contiguous rows.
    """
    if (library := compiled()) is None:
        tile = np.empty((_STEP, pool.shape[1]), pool.dtype)
        for start in range(0, len(order), _STEP):
            rows = order[start : start + _STEP]
            # The default mode checks each index and writes through a buffer.
            np.take(pool, rows, axis=0, out=tile[: len(rows)], mode="clip")
            first = 0
            for out in outs:
                out[:, start : start + _STEP] = tile[: len(rows), first : (first := first + len(out))].T
        return
    places = np.concatenate([out.ctypes.data + out.strides[0] * np.arange(len(out)) for out in outs])
    order = np.ascontiguousarray(order, "int64")
    _call(library, "gather", pool.dtype, pool, pool.shape[1], order, len(order), places)


def gather_lists(values: np.ndarray, starts: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return lists, concatenated: list i is the `offsets[i + 1] - offsets[i]` values from `starts[i]` on.

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
    """Call the function for the size of an item, with arrays as their addresses."""
    values = [
        ctypes.c_void_p(item.ctypes.data) if isinstance(item, np.ndarray) else ctypes.c_int64(item)
        for item in arguments
    ]
    getattr(library, f"{name}_{8 * dtype.itemsize}")(*values)
