"""How the rows of an epoch are split over ranks, and a rank's rows into batches: numbers only, no file is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class RankSplit:
    """The rows of an epoch that one rank reads, and the sizes of its batches.

    All rows form a sequence, which is cut into one span per rank. Spans differ by one row at most, but that row
    could make one batch more: spans are cut into batches so that all ranks have the same number and none is empty.

    Args:
        total: the rows of all ranks.
        rank: the rank, from 0.
        ranks: the number of ranks.
        batch_size: the most rows in a batch on each rank.
        drop_last: whether to leave out what does not fill a batch on every rank.
        most: the most batches, of which the first are read.

    Raises:
        ValueError: these rows cannot be split so that every rank has a batch and none is empty.
    """

    total: int
    rank: int
    ranks: int
    batch_size: int
    drop_last: bool = False
    most: int | None = None

    def __post_init__(self) -> None:
        rows, per_rank = f"{self.total:,} rows", f" on each of {self.ranks} ranks" if self.ranks > 1 else ""
        if not self.total:
            raise ValueError(f"{rows}: there is nothing to yield")
        if self.drop_last and not self.batches:
            raise ValueError(
                f"{rows}, fewer than one batch of {self.batch_size:,}{per_rank}, and drop_last=True: "
                "there is nothing to yield; use a smaller batch_size, or drop_last=False"
            )
        if self.total < self.ranks:
            raise ValueError(f"{rows}, fewer than the {self.ranks} ranks: every rank needs at least one row")
        if self.batch_size == 1 and self.total % self.ranks and not self.drop_last:
            raise ValueError(
                f"{rows}, which cannot be split over {self.ranks} ranks in batches of one row without an empty "
                "batch: use a larger batch_size, or drop_last=True"
            )

    @property
    def span(self) -> range:
        """The positions of this rank's rows in the sequence."""
        return range(self.total * self.rank // self.ranks, self.total * (self.rank + 1) // self.ranks)

    @property
    def batches(self) -> int:
        """The number of batches, the same on every rank."""
        return self._all_batches if self.most is None else min(self._all_batches, self.most)

    @property
    def _all_batches(self) -> int:
        longest, shortest = -(-self.total // self.ranks), self.total // self.ranks
        return shortest // self.batch_size if self.drop_last else -(-longest // self.batch_size)

    def sizes(self) -> Iterator[int]:
        """Yield the number of rows in each batch."""
        for batch in range(self.batches):
            yield self._size(batch, len(self.span))

    def _size(self, batch: int, rows: int) -> int:
        """Return the size of a batch of a span: full or the rest, but a row remains for each later batch."""
        later_batches = self._all_batches - 1 - batch
        return min(self.batch_size, max(rows - batch * self.batch_size - later_batches, 1))

    @property
    def last(self) -> int:
        """The number of rows in the last batch."""
        return self._size(self.batches - 1, len(self.span))

    @property
    def full(self) -> bool:
        """Whether every batch of every rank has `batch_size` rows."""
        return self._size(self.batches - 1, self.total // self.ranks) == self.batch_size
