"""Weighted sampling from a catalog, excluding some items per draw; exact, without rejection."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class WeightedSampler:
    """Samples items 0 to n - 1 by weight, by inverting the cumulative weights of the items that are not excluded.

    Args:
        weights: (n,) integers >= 0, of sum below 2**53.
        excluded: (m,) integers: concatenated sets of items, each ascending without repeats.
    """

    def __init__(self, weights: Ints, excluded: Ints):
        self._ends = np.concatenate([[0], np.cumsum(weights)])
        # After the given sets, there is a set of each single item: see `single`.
        self._singles = len(excluded)
        sets = np.concatenate([excluded, np.arange(len(weights))])
        self._starts = self._ends[sets]
        self._cut = np.concatenate([[0], np.cumsum(weights[sets])])  # the excluded weight before each entry

    def single(self, items: Ints) -> tuple[Ints, Ints]:
        """Return the bounds of sets of one item each; of an empty set for item -1."""
        begins = np.where(items < 0, 0, self._singles + items)
        return begins, begins + (items >= 0)

    def remaining(self, begins: Ints, ends: Ints) -> Ints:
        """Return the weight of all items that are not in the sets `excluded[begin:end]`."""
        return self._ends[-1] - (self._cut[ends] - self._cut[begins])

    def draw(self, hashes: NDArray[np.uint64], begins: Ints, ends: Ints) -> Ints:
        """Return an item per 64-bit hash, in proportion to weight, that is not in `excluded[begin:end]`. The
        remaining weight must be above 0."""
        remaining = self.remaining(begins, ends)
        point = np.minimum(((hashes >> np.uint64(11)) * 2.0**-53 * remaining).astype(np.int64), remaining - 1)
        low, high, before = begins, ends, self._cut[begins]
        while (searching := low < high).any():  # for the first entry of the set beyond the point
            middle = np.where(searching, (low + high) // 2, 0)
            passed = self._starts[middle] - (self._cut[middle] - before) <= point
            low = np.where(searching & passed, middle + 1, low)
            high = np.where(searching & ~passed, middle, high)
        return np.searchsorted(self._ends, point + self._cut[low] - before, side="right") - 1
