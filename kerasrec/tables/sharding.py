"""From a plan to the stack of tables that ranks share: which rank owns a row, and where it has it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from kerasrec.tables.config import TableConfig
from kerasrec.tables.plan import Plan
from kerasrec.tables.stack import Stack, stack_tables
from kerasrec.tables.table_plan import TableShard


@dataclass(frozen=True)
class ColumnSlice:
    """Some columns of all rows of a table, of which `owners[r % len(owners)]` owns row r.

    A column-wise table has as many slices as owners; every other table is one slice.

    Args:
        table: with the slice's columns alone, named `item[0:16]` if these are not all.
        source: the full table.
        columns: of the full table: the first, and the one after the last.
        owners: the ranks that own its rows.
        frequent_rows: how many rows, from row 0 on, have replicas on every rank.
    """

    table: TableConfig
    source: TableConfig
    columns: tuple[int, int]
    owners: tuple[int, ...]
    frequent_rows: int

    def rows(self, rank: int) -> range:
        """Return the table's rows that a rank owns, in the order in which it has them."""
        if rank not in self.owners:
            return range(0)
        return range(self.owners.index(rank), self.table.vocabulary_size, len(self.owners))

    def owned_replicas(self, rank: int) -> int:
        """Return how many of a rank's rows have replicas on every rank; these come first."""
        rows = self.rows(rank)
        return len(range(rows.start, self.frequent_rows, rows.step)) if rows else 0


def column_slices(plan: Plan, table: str) -> list[ColumnSlice]:
    """Return the slices of a table, in the order of its columns."""
    placed = plan[table]
    source = placed.table
    if placed.placement != "column_wise" or len(placed.ranks) == 1:
        frequent_rows = placed.frequent_rows if plan.ranks > 1 else 0
        return [ColumnSlice(source, source, (0, source.embedding_dim), placed.ranks, frequent_rows)]
    slices = []
    for place, rank in enumerate(placed.ranks):
        first, last = (source.embedding_dim * end // len(placed.ranks) for end in (place, place + 1))
        own = replace(source, name=f"{source.name}[{first}:{last}]", embedding_dim=last - first)
        slices.append(ColumnSlice(own, source, (first, last), (rank,), 0))
    return slices


@dataclass(frozen=True)
class ShardedStack:
    """A stack of column slices of one width, whose rows ranks own between them.

    Each rank has one variable for its rows, those of one slice after those of another.

    Args:
        stack: the slices' rows counted as if one rank had them all, as lookups name them.
        slices: in the order of the stack.
        ranks: the number of ranks.
        sums: whether owners answer lookups with sums of rows.
    """

    stack: Stack
    slices: tuple[ColumnSlice, ...]
    ranks: int
    sums: bool = False

    @cached_property
    def first_row(self) -> np.ndarray:
        """(slices + 1,): the first row of each slice in the stack."""
        return np.cumsum([0, *(each.table.vocabulary_size for each in self.slices)])

    @cached_property
    def first_local_row(self) -> np.ndarray:
        """(slices + 1, ranks): the first row of each slice in each rank's variable; the last line: its size."""
        owned = [[len(each.rows(rank)) for rank in range(self.ranks)] for each in self.slices]
        return np.vstack([np.zeros((1, self.ranks), np.int64), np.cumsum(owned, axis=0)])

    @cached_property
    def owners(self) -> np.ndarray:
        """(slices, most owners): the ranks of `ColumnSlice.owners`, then zeros."""
        out = np.zeros((len(self.slices), max(len(each.owners) for each in self.slices)), np.int64)
        for line, each in zip(out, self.slices, strict=True):
            line[: len(each.owners)] = each.owners
        return out

    @cached_property
    def owner_count(self) -> np.ndarray:
        """(slices,): the number of owners of each slice."""
        return np.array([len(each.owners) for each in self.slices])

    @cached_property
    def frequent_rows(self) -> np.ndarray:
        """(slices,): how many rows of each slice have replicas."""
        return np.array([each.frequent_rows for each in self.slices])

    @cached_property
    def first_replica(self) -> np.ndarray:
        """(slices + 1,): the first row of each slice in the variable of replicas that every rank has."""
        return np.cumsum([0, *self.frequent_rows])

    @property
    def replica_rows(self) -> int:
        """How many rows have replicas on every rank."""
        return int(self.first_replica[-1])

    @cached_property
    def first_owned_replica(self) -> np.ndarray:
        """(slices + 1, ranks): the same among the rows with replicas that a rank owns, counted for each rank."""
        owned = [[each.owned_replicas(rank) for rank in range(self.ranks)] for each in self.slices]
        return np.vstack([np.zeros((1, self.ranks), np.int64), np.cumsum(owned, axis=0)])

    @property
    def max_owned_replicas(self) -> int:
        """How many rows with replicas the rank owns that owns the most."""
        return int(self.first_owned_replica[-1].max())

    @property
    def column_wise_tables(self) -> list[str]:
        """The names of the tables of which the stack has some columns alone."""
        return [each.source.name for each in self.slices if each.table != each.source]

    def local(self, rank: int) -> Stack:
        """Return a rank's shard as a stack of shortened tables, as optimizers and checkpoints know it."""
        owned = [(each, rows) for each in self.slices if (rows := each.rows(rank))]
        tables = tuple(replace(each.table, vocabulary_size=len(rows), frequent_rows=None) for each, rows in owned)
        shards = tuple(TableShard(each.source.name, rank, rows, each.columns) for each, rows in owned)
        return replace(self.stack, tables=tables, shards=shards)


def shard_tables(plan: Plan, tables: Iterable[TableConfig], sums: bool = False) -> list[ShardedStack]:
    """Stack the column slices of tables by width and optimizer, in the order of the tables.

    Args:
        plan: where the tables are.
        tables: the tables.
        sums: whether tables whose plan says "sums" are exchanged so, and have stacks of their own.
    """
    by_name: dict[str, ColumnSlice] = {}
    for table in tables:
        for each in column_slices(plan, table.name):
            by_name.setdefault(each.table.name, each)
    summed = {name for name, each in by_name.items() if sums and plan[each.source.name].exchange == "sums"}
    stacks = stack_tables((each.table for each in by_name.values()), summed)
    return [
        ShardedStack(
            stack, tuple(by_name[table.name] for table in stack.tables), plan.ranks, stack.tables[0].name in summed
        )
        for stack in stacks
    ]
