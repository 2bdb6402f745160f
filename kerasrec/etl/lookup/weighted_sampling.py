"""Weighted draws from a catalog, each without the items that are excluded for it; none is tried twice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Draws:
    """Items 0 to n - 1 laid out on a line, each as long as its weight; a draw is a point on what is left of the
    line when the excluded ones are cut out.

    Args:
        weights: (n,) int, not negative, of sum below 2**53.
        excluded: (m,) int, sets of items one after another, each ascending without repeats.
    """

    def __init__(self, weights: Ints, excluded: Ints):
        self._ends = np.concatenate([[0], np.cumsum(weights)])
        # Behind the sets, each item is one of its own: `alone` finds it.
        self._alone = len(excluded)
        sets = np.concatenate([excluded, np.arange(len(weights))])
        self._starts = self._ends[sets]
        self._cut = np.concatenate([[0], np.cumsum(weights[sets])])  # the weight of everything in front

    def alone(self, items: Ints) -> tuple[Ints, Ints]:
        """Where the sets of one item each begin and end; for item -1 an empty one."""
        begins = np.where(items < 0, 0, self._alone + items)
        return begins, begins + (items >= 0)

    def left(self, begins: Ints, ends: Ints) -> Ints:
        """The weight of what is not in the sets `excluded[begin:end]`."""
        return self._ends[-1] - (self._cut[ends] - self._cut[begins])

    def draw(self, hashes: NDArray[np.uint64], begins: Ints, ends: Ints) -> Ints:
        """An item for each 64-bit hash, in proportion to its weight, and not of `excluded[begin:end]`. Some weight
        must be left."""
        left = self.left(begins, ends)
        point = np.minimum(((hashes >> np.uint64(11)) * 2.0**-53 * left).astype(np.int64), left - 1)
        low, high, before = begins, ends, self._cut[begins]
        while (searching := low < high).any():  # the first of the set that lies behind the point
            middle = np.where(searching, (low + high) // 2, 0)
            passed = self._starts[middle] - (self._cut[middle] - before) <= point
            low = np.where(searching & passed, middle + 1, low)
            high = np.where(searching & ~passed, middle, high)
        return np.searchsorted(self._ends, point + self._cut[low] - before, side="right") - 1
