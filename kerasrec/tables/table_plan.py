"""The plan of one table, and the figures of a whole plan; both are plain data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerasrec.tables.config import PLACEMENTS, TableConfig

EXCHANGES = ("rows", "sums")


@dataclass(frozen=True)
class TableShard:
    """The part of a table that one rank owns: `rows` (a range with a stride) of the columns [first, last)."""

    table: str
    rank: int
    rows: range
    columns: tuple[int, int]


@dataclass(frozen=True)
class TablePlan:
    """The ranks that own a table, and how they exchange it.

    Args:
        table: the table.
        placement: "table_wise", "row_wise", "column_wise", "replicated" or "hybrid".
        ranks: the ranks that own a shard. Table-wise: one rank. Column-wise, with k ranks and D columns:
            `ranks[i]` owns columns `D * i // k` to `D * (i + 1) // k` of all rows. Otherwise `ranks[r % k]` owns
            row r, as its row `r // k`: ids are ordered by frequency, so blocks of consecutive rows would put
            all the frequent ones on one rank.
        frequent_rows: rows [0, frequent_rows) have replicas on every rank, besides their owner, which alone
            stores their optimizer state. All rows of a replicated table; 0 unless replicated or hybrid.
        exchange: "rows" sends each distinct row once per step; with "sums" each owner adds up its rows of a list
            and sends the sum (rows are sent all the same if ranks exchange by way of nodes).

    Raises:
        ValueError: a field that is out of range or does not fit the placement.
    """

    table: TableConfig
    placement: str
    ranks: tuple[int, ...]
    frequent_rows: int = 0
    exchange: str = "rows"

    def __post_init__(self) -> None:
        rows, width, owners = self.table.vocabulary_size, self.table.embedding_dim, len(self.ranks)
        if self.placement not in PLACEMENTS[1:]:
            self._refuse(f"placement must be one of {PLACEMENTS[1:]}; got {self.placement!r}")
        if self.exchange not in EXCHANGES:
            self._refuse(f"exchange must be one of {EXCHANGES}; got {self.exchange!r}")
        if not owners or len(set(self.ranks)) < owners or min(self.ranks) < 0:
            self._refuse(f"ranks must be one or more distinct integers >= 0; got {self.ranks}")
        if self.placement == "table_wise" and owners > 1:
            self._refuse(f"a table_wise table must be on one rank; got ranks {self.ranks}")
        if self.placement == "column_wise" and owners > width:
            self._refuse(f"cannot spread {width} columns over {owners} ranks")
        if self.placement == "replicated" and self.frequent_rows in (0, rows):
            object.__setattr__(self, "frequent_rows", rows)
        elif not 0 <= self.frequent_rows <= (most := rows if self.placement == "hybrid" else 0):
            allowed = f"a {self.placement} table must have frequent_rows in [0, {most}]"
            self._refuse(f"{allowed}; got {self.frequent_rows}")
        if self.exchange == "sums" and (self.frequent_rows or self.table.combiner is None):
            self._refuse("exchange 'sums' needs a combiner and no frequent_rows; use exchange 'rows'")

    def _refuse(self, reason: str) -> None:
        raise ValueError(f"plan of table {self.table.name!r}: {reason}")

    @property
    def shards(self) -> tuple[TableShard, ...]:
        """The shard of each owner that owns any row. Each row and column is in exactly one; replicas are not."""
        shards = (self._shard(place) for place in range(len(self.ranks)))
        return tuple(shard for shard in shards if len(shard.rows))

    def shard(self, rank: int) -> TableShard | None:
        """Return what a rank owns of the table; None if it owns nothing."""
        if rank not in self.ranks:
            return None
        shard = self._shard(self.ranks.index(rank))
        return shard if len(shard.rows) else None

    def _shard(self, place: int) -> TableShard:
        rows, width, owners = self.table.vocabulary_size, self.table.embedding_dim, len(self.ranks)
        if self.placement == "column_wise":
            columns = (width * place // owners, width * (place + 1) // owners)
            return TableShard(self.table.name, self.ranks[place], range(rows), columns)
        return TableShard(self.table.name, self.ranks[place], range(place, rows, owners), (0, width))


def shard_sizes(table: TableConfig, placement: str, owners: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many rows and how many columns each owner has, (owners,) each, without making the shards."""
    rows, width, place = table.vocabulary_size, table.embedding_dim, np.arange(owners)
    if placement == "column_wise":
        return np.full(owners, rows), width * (place + 1) // owners - width * place // owners
    return (rows - place + owners - 1) // owners, np.full(owners, width)


@dataclass(frozen=True)
class Predicted:
    """What a plan is predicted to cost: element r of each field is rank r's.

    Args:
        table_bytes: of weights, replicas included; exact.
        state_bytes: of optimizer state; exact.
        buffer_bytes: of what a step sends and receives, and of the lookups' results and their gradients, as if
            all of it were in memory at once.
        sent_bytes: per step.
        received_bytes: per step.
        seconds: per step.
    """

    table_bytes: tuple[int, ...]
    state_bytes: tuple[int, ...]
    buffer_bytes: tuple[int, ...]
    sent_bytes: tuple[float, ...]
    received_bytes: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def memory(self) -> tuple[int, ...]:
        """Bytes of tables, state and buffers together."""
        return tuple(map(sum, zip(self.table_bytes, self.state_bytes, self.buffer_bytes, strict=True)))
