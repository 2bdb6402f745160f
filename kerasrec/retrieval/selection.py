"""The best candidates of a block of scores: bounds from maxima of groups of columns, then a sort of few scores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

GROUP = 8  # candidates, of which the best score is looked at first,
GROUPED_FROM = 200  # where there are as many candidates for each of the k
FEWEST_GROUPS = 128  # in which a bound is searched for


class TopK(NamedTuple):
    """The best candidates of each query, best first.

    Attributes:
        rows: (n, k) int64, positions among the candidates; -1 where a query has fewer than k.
        scores: (n, k) floats; -inf where a query has fewer than k.
    """

    rows: np.ndarray
    scores: np.ndarray


def best_of_block(block: np.ndarray, k: int) -> TopK:
    """Return the k best columns of each row (n, m), best first; of equal scores the first column wins."""
    maxima = group_maxima(block, k)
    return in_order(leaders_of(block, k, lower_bounds(maxima, k), maxima), k)


class Leaders(NamedTuple):
    """The k best candidates of each query, and few others.

    Attributes:
        columns: (n, width) int64; -1 where a query has fewer.
        scores: (n, width); -inf where a query has fewer.
        least: (n,), the lowest score of a leader; others are below it.
    """

    columns: np.ndarray
    scores: np.ndarray
    least: np.ndarray


def group_maxima(block: np.ndarray, k: int) -> np.ndarray:
    """Return the maximum of each group of `GROUP` columns, and the columns that are left over.

    Group i of n has the columns i, i + n, i + 2 n, ... If there are too few columns for each of the k the block
    itself is returned, whose groups are of one column.
    """
    rows, width = block.shape
    groups = width // GROUP
    if width < GROUPED_FROM * k:
        return block
    strides = (block.strides[0], groups * block.strides[1], block.strides[1])
    maxima = as_strided(block, (rows, GROUP, groups), strides, writeable=False)
    with short_rows():
        while (size := maxima.shape[1]) > 1:
            maxima = np.maximum(maxima[:, : size // 2], maxima[:, size // 2 :])
    return np.concatenate([maxima[:, 0], block[:, groups * GROUP :]], axis=1)


def leaders_of(block: np.ndarray, k: int, least: np.ndarray, maxima: np.ndarray) -> Leaders:
    """Return all columns of each row whose scores reach a bound that the k best reach.

    Args:
        block: (n, m) scores, in C order.
        k: how many.
        least: (n,), the bounds that `lower_bounds` has for this k.
        maxima: of groups of columns, as `group_maxima` returns them.
    """
    count, width = block.shape
    size = GROUP if maxima is not block and width >= GROUPED_FROM * k else 1
    groups = width // size
    looked_at = block if size == 1 else maxima
    at, counts = _places(reaching(looked_at, least))
    row = np.repeat(np.arange(count), counts)
    column = at - row * looked_at.shape[1]
    if size == 1:
        scores = block.reshape(-1).take(at)
    else:
        # All columns of a group whose best one reaches the bound; a column left over is the last of its own.
        members = block.reshape(-1).take((row * width + column)[:, None] + groups * np.arange(size))
        members[column >= groups, : size - 1] = -np.inf
        at = np.flatnonzero(members >= least[row, None])
        place = at // size
        row, column = row[place], column[place] + groups * (at - place * size)
        scores = members.reshape(-1)[at]
        counts = np.bincount(row, minlength=count)
    shape = (count, int(counts.max(initial=0)))
    leaders = Leaders(np.full(shape, -1, np.int64), np.full(shape, -np.inf, block.dtype), least)
    filled = np.arange(len(row)) + np.repeat(np.arange(count) * shape[1] - np.cumsum(counts) + counts, counts)
    leaders.columns.reshape(-1)[filled] = column
    leaders.scores.reshape(-1)[filled] = scores
    return leaders


def _places(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of true values in a flat array, and how many each row has."""
    at = np.flatnonzero(chosen)
    starts = np.searchsorted(at, np.arange(len(chosen) + 1) * chosen.shape[1])
    return at, np.diff(starts)


def in_order(leaders: Leaders, k: int) -> TopK:
    """Return the k best leaders in order."""
    count, width = leaders.columns.shape
    rows, scores = np.full((count, k), -1, np.int64), np.full((count, k), -np.inf, leaders.scores.dtype)
    kept = min(k, width)
    if leaders.scores.dtype == np.float32:
        # Score and column as one integer: NumPy sorts integers several times as fast as it finds an order.
        bits = (leaders.scores + np.float32(0)).view(np.uint32)  # adding 0 makes -0.0 the same as 0.0
        descending = np.where(bits >> 31, bits, ~bits & np.uint32(0x7FFFFFFF))
        keys = (descending.astype(np.uint64) << 32) | (leaders.columns & 0xFFFFFFFF).astype(np.uint64)
        keys = np.sort(keys, axis=1)[:, :kept]
        rows[:, :kept] = (keys & 0xFFFFFFFF).astype(np.int64)
        bits = (keys >> 32).astype(np.uint32)
        scores[:, :kept] = np.where(bits >> 31, bits, ~bits & np.uint32(0x7FFFFFFF)).view(np.float32)
    else:
        order = np.lexsort((leaders.columns, -leaders.scores), axis=1)[:, :kept]
        rows[:, :kept] = np.take_along_axis(leaders.columns, order, axis=1)
        scores[:, :kept] = np.take_along_axis(leaders.scores, order, axis=1)
    rows[scores == -np.inf] = -1
    return TopK(rows, scores)


def lower_bounds(scores: np.ndarray, k: int) -> np.ndarray:
    """Return for each row a number that its k best scores reach, and few others: (n,).

    The k best of the maxima of groups of columns are k scores of different columns.
    """
    groups = max(2 * k, FEWEST_GROUPS)
    maxima = scores
    with short_rows():
        while (half := maxima.shape[1] // 2) >= groups:  # without the last one of an odd number, for a lower bound
            maxima = np.maximum(maxima[:, :half], maxima[:, half : 2 * half])
    if k > maxima.shape[1]:
        return np.full(len(scores), -np.inf, scores.dtype)
    return np.sort(maxima, axis=1)[:, -k]


def reaching(scores: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Return which scores (n, m) reach the bound of their row, (n,)."""
    with short_rows():
        return scores >= bounds[:, None]


@contextmanager
def short_rows() -> Iterator[None]:
    """Have NumPy work on rows in place: it copies those shorter than half of its buffer, which takes longer."""
    size = np.setbufsize(16)
    try:
        yield
    finally:
        np.setbufsize(size)
