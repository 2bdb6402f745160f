"""How an epoch's rows are dealt to ranks, and a rank's rows to batches; numbers only, no file is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """What one rank reads of an epoch.

    The rows stand in a line, which is cut in one span a rank. Spans differ by one row at most, yet that row may
    make one batch more: spans are cut in batches such that all ranks have the same number and none is empty.

    Args:
        total: rows of all ranks.
        rank: which of the ranks, from 0.
        ranks: how many there are.
        batch_size: rows a batch on each rank, at most.
        drop_last: leave out what does not fill a batch on every rank.
        most: only so many batches, the first ones.

    Raises:
        ValueError: there is no way to deal these rows so that every rank has a batch, and none is empty.
    """

    total: int
    rank: int
    ranks: int
    batch_size: int
    drop_last: bool = False
    most: int | None = None

    def __post_init__(self) -> None:
        rows, each = f"{self.total:,} rows", f" on each of {self.ranks} ranks" if self.ranks > 1 else ""
        if not self.total:
            raise ValueError(f"{rows}: there is nothing to yield")
        if self.drop_last and not self.batches:
            raise ValueError(
                f"{rows}, fewer than one batch of {self.batch_size:,}{each} with drop_last: "
                "there is nothing to yield"
            )
        if self.total < self.ranks:
            raise ValueError(f"{rows}, fewer than the {self.ranks} ranks: every rank needs one at least")
        if self.batch_size == 1 and self.total % self.ranks and not self.drop_last:
            raise ValueError(
                f"{rows}, which cannot be dealt to {self.ranks} ranks in batches of one row with none left empty: "
                "take a larger batch_size, or drop_last=True"
            )

    @property
    def span(self) -> range:
        """The places of this rank's rows in the line."""
        return range(self.total * self.rank // self.ranks, self.total * (self.rank + 1) // self.ranks)

    @property
    def batches(self) -> int:
        """How many batches every rank has."""
        return self._whole if self.most is None else min(self._whole, self.most)

    @property
    def _whole(self) -> int:
        longest, shortest = -(-self.total // self.ranks), self.total // self.ranks
        return shortest // self.batch_size if self.drop_last else -(-longest // self.batch_size)

    def sizes(self) -> Iterator[int]:
        """The rows of each batch."""
        for batch in range(self.batches):
            yield self._size(batch, len(self.span))

    def _size(self, batch: int, rows: int) -> int:
        """Of one batch of a span of so many rows: a full one, or what is left; but it leaves a row to every batch
        after it."""
        after = self._whole - 1 - batch
        return min(self.batch_size, max(rows - batch * self.batch_size - after, 1))

    @property
    def last(self) -> int:
        """The rows of the last batch."""
        return self._size(self.batches - 1, len(self.span))

    @property
    def full(self) -> bool:
        """Whether every batch of every rank has `batch_size` rows."""
        return self._size(self.batches - 1, self.total // self.ranks) == self.batch_size
