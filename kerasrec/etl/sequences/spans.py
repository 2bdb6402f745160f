"""Which events of sorted users are the rows of each part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Spans:
    """Rows of consecutive events: row i has the events from `begins[i]` up to `ends[i]`."""

    begins: Positions
    ends: Positions

    @property
    def lengths(self) -> Positions:
        return self.ends - self.begins

    def where(self, keep: NDArray[np.bool_]) -> Spans:
        """Return some of the rows."""
        return Spans(self.begins[keep], self.ends[keep])

    def last(self, count: int | None) -> Spans:
        """Return the last `count` events of each row; all for None."""
        return self if count is None else Spans(np.maximum(self.begins, self.ends - count), self.ends)

    def positions(self) -> Positions:
        """Return the positions of the events of all rows, one row after another."""
        lengths = self.lengths
        before = np.cumsum(lengths) - lengths
        return np.arange(lengths.sum()) + np.repeat(self.begins - before, lengths)


def leave_one_out(users: Spans, parts: int) -> list[Spans]:
    """Return the rows of each part: the last item of a row is its target.

    Of `items`, with three parts, these are `items[:-2]` to train on, `items[:-1]` to validate and `items` to test
    on. All events of a user with fewer than `parts` are to train on.
    """
    long = users.lengths >= parts
    train = Spans(users.begins, users.ends - (parts - 1) * long)
    return [train, *(Spans(users.begins, users.ends - back).where(long) for back in range(parts - 2, -1, -1))]


def by_time(users: Spans, times: NDArray[np.number[Any]], cuts: Sequence[float | None]) -> list[Spans]:
    """Return the rows of each part: of the first, a user's events before the first cut; of the others, one row per
    event from one cut up to the next, with the user's events up to that one.

    Args:
        users: all events, without gaps.
        times: of the events, ascending in each user.
        cuts: where the second part begins, the third, ...; None for one after all events.
    """
    later = [np.zeros(len(times), bool) if cut is None else times >= cut for cut in cuts]
    early = np.concatenate([[0], np.cumsum(~later[0])])
    train = Spans(users.begins, users.begins + early[users.ends] - early[users.begins])
    begin_of = np.repeat(users.begins, users.lengths)
    parts = [train]
    for after, before in zip(later, [*later[1:], np.zeros(len(times), bool)], strict=True):
        targets = np.flatnonzero(after & ~before)
        parts.append(Spans(begin_of[targets], targets + 1))
    return parts
