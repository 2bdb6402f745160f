"""`KnownItems`: the items of each user, from which others are drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasrec.etl.operator.id_columns import FIRST


@dataclass(frozen=True)
class KnownItems:
    """The items of each user, from which others are drawn exactly uniformly.

    Attributes:
        count: the number of item ids.
        offsets: where the items of each user id begin, (users + 1,).
        gaps: for each item, in the order of users and ids, `user * count` and how many ids from `FIRST` to it are
            not the user's. That grows within a user, so that one search finds the other item of any rank.
    """

    count: int
    offsets: np.ndarray
    gaps: np.ndarray

    @classmethod
    def of(cls, batches: Iterable[Any], user: str, item: str, count: int) -> KnownItems:
        """Read the pairs of batches of a loader."""
        keys = []
        for batch in batches:
            features = batch if isinstance(batch, dict) else batch[0]
            users, items = (np.asarray(features[name]).reshape(-1).astype(np.int64) for name in (user, item))
            keys.append((users * count + items)[items >= FIRST])
        pairs = np.unique(np.concatenate([np.empty(0, np.int64), *keys]))
        users, items = pairs // count, pairs % count
        offsets = np.concatenate([[0], np.cumsum(np.bincount(users))])
        ranks = np.arange(len(pairs)) - offsets[users]
        return cls(count, offsets, users * count + items - FIRST - ranks)

    def draw_others(self, users: np.ndarray, own: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Return an item for each user that is not the user's, `(n,)`.

        Raises:
            ValueError: an own item of a row is drawn, so it was not in what was read; or a user has all items.
        """
        users = users.astype(np.int64)
        begin, end = (self.offsets[np.minimum(users + i, len(self.offsets) - 1)] for i in (0, 1))
        others = self.count - FIRST - (end - begin)
        if len(users) and others.min() < 1:
            raise ValueError(f"the user with id {users[others.argmin()]} has all items, so there are no negatives")
        ranks = random.integers(0, others)
        drawn = FIRST + ranks + np.searchsorted(self.gaps, users * self.count + ranks, side="right") - begin
        if len(wrong := np.flatnonzero(drawn == own)):
            row = wrong[0]
            raise ValueError(
                f"the pair of user {users[row]} and item {own[row]} is not in `known`, which needs all rows"
            )
        return drawn
