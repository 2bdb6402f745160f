"""The order in which a rank reads rows: row groups in pools, and the rows of a pool permuted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, chain

import numpy as np

from kerasrec.data.files.row_groups import RowGroup
from kerasrec.data.rank_split import RankSplit

Pool = list[RowGroup]


def num_rows(pool: Pool) -> int:
    return sum(row_group.rows for row_group in pool)


class EpochOrder:
    """The pools that a rank reads in an epoch, and permutations of their rows.

    Row groups are drawn in the same order on all ranks. The rows of a pool are permuted by a random stream of the
    rank's own. Both follow from seed, epoch and the number of ranks.

    Args:
        row_groups: those of all files, in file order.
        split: which rows the rank reads.
        pool_rows: the least number of rows in a pool, except the last.
        seed: of the shuffle together with `epoch`; `None` for file order.
        epoch: the number of the epoch.
    """

    def __init__(
        self, row_groups: Sequence[RowGroup], split: RankSplit, pool_rows: int, seed: int | None, epoch: int
    ):
        shared = None if seed is None else np.random.default_rng([seed, epoch])
        self._own = None if shared is None else [shared, *shared.spawn(split.ranks - 1)][split.rank]
        self._pools = pools(row_groups, split.span, pool_rows, shared)

    def pools_from(self, row: int) -> tuple[Iterator[Pool], int]:
        """Return the pools from the one that contains a row of the rank on, and the row's position in that pool.

        Permutations of earlier pools are drawn and thrown away, so that later ones are those of a whole pass.
        """
        for pool in self._pools:
            if row < (rows := num_rows(pool)):
                return chain([pool], self._pools), row
            row -= rows
            self.permutation(rows)
        return iter(()), 0

    def permutation(self, rows: int) -> np.ndarray | None:
        """Return a permutation of the next pool's rows; `None` in file order."""
        return None if self._own is None else self._own.permutation(rows)


def pools(
    row_groups: Sequence[RowGroup], span: range, pool_rows: int, rng: np.random.Generator | None = None
) -> Iterator[Pool]:
    """Yield pools of at least `pool_rows` rows, except for the last, that cover a span of rows once.

    `span` counts rows along the row groups in file order or, with `rng`, in an order drawn at random from all
    files; only a row group in which it begins or ends is cut. The row groups of a pool are in file order even
    then, so that neighbours are read in one go: the rows of a pool are permuted anyway.
    """
    order = range(len(row_groups)) if rng is None else rng.permutation(len(row_groups)).tolist()
    begins = accumulate((row_groups[index].rows for index in order), initial=0)
    pool: dict[int, RowGroup] = {}
    rows = 0
    for index, begin in zip(order, begins, strict=False):
        row_group = row_groups[index].within(span.start - begin, span.stop - begin)
        if row_group is None:
            continue
        pool[index] = row_group
        rows += row_group.rows
        if rows >= pool_rows:
            yield [pool[position] for position in sorted(pool)]
            pool, rows = {}, 0
    if pool:
        yield [pool[position] for position in sorted(pool)]
