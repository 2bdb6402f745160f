"""From a plan to what each rank holds: stacks of slices of tables, and where in them a row lies."""

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
class Slice:
    """Some columns of a table, all its rows: row r lives on `owners[r % len(owners)]`.

    Every table is one slice, but a column-wise one is as many as it has owners.
    """

    table: TableConfig  # with the slice's width; named `item[0:16]` where the table is cut
    source: TableConfig
    columns: tuple[int, int]
    owners: tuple[int, ...]
    frequent_rows: int

    def rows(self, rank: int) -> range:
        """The table's rows that a rank holds, in the order in which it holds them."""
        if rank not in self.owners:
            return range(0)
        return range(self.owners.index(rank), self.table.vocabulary_size, len(self.owners))

    def owned_copies(self, rank: int) -> int:
        """How many of the rows that a rank holds are copied to every rank; these come first."""
        held = self.rows(rank)
        return len(range(held.start, self.frequent_rows, held.step)) if held else 0


def slices(plan: Plan, table: str) -> list[Slice]:
    """The slices of one table, by columns."""
    placed = plan[table]
    source = placed.table
    if placed.placement != "column_wise" or len(placed.ranks) == 1:
        copied = placed.frequent_rows if plan.ranks > 1 else 0
        return [Slice(source, source, (0, source.embedding_dim), placed.ranks, copied)]
    cut = []
    for place, rank in enumerate(placed.ranks):
        first, last = (source.embedding_dim * end // len(placed.ranks) for end in (place, place + 1))
        own = replace(source, name=f"{source.name}[{first}:{last}]", embedding_dim=last - first)
        cut.append(Slice(own, source, (first, last), (rank,), 0))
    return cut


@dataclass(frozen=True)
class Shards:
    """A stack of slices of one width, spread over ranks.

    `stack` counts the slices' rows as if one rank held them all: so a lookup names a row. Each rank has one
    variable for the rows it owns, slice under slice.
    """

    stack: Stack
    slices: tuple[Slice, ...]
    ranks: int
    sums: bool = False  # whether owners answer lookups with sums of rows

    @cached_property
    def first_row(self) -> np.ndarray:
        """(slices + 1,): where each slice begins in the stack."""
        return np.cumsum([0, *(each.table.vocabulary_size for each in self.slices)])

    @cached_property
    def first_local_row(self) -> np.ndarray:
        """(slices + 1, ranks): where each slice begins in each rank's variable; the last line is their sizes."""
        held = [[len(each.rows(rank)) for rank in range(self.ranks)] for each in self.slices]
        return np.vstack([np.zeros((1, self.ranks), np.int64), np.cumsum(held, axis=0)])

    @cached_property
    def owners(self) -> np.ndarray:
        """(slices, most owners): the ranks of `Slice.owners`, then zeros."""
        out = np.zeros((len(self.slices), max(len(each.owners) for each in self.slices)), np.int64)
        for row, each in zip(out, self.slices, strict=True):
            row[: len(each.owners)] = each.owners
        return out

    @cached_property
    def owner_count(self) -> np.ndarray:
        return np.array([len(each.owners) for each in self.slices])

    @cached_property
    def frequent_rows(self) -> np.ndarray:
        return np.array([each.frequent_rows for each in self.slices])

    @cached_property
    def first_copy(self) -> np.ndarray:
        """(slices + 1,): where each slice's copied rows begin in the variable of copies that every rank has."""
        return np.cumsum([0, *self.frequent_rows])

    @property
    def copies(self) -> int:
        return int(self.first_copy[-1])

    @cached_property
    def first_owned_copy(self) -> np.ndarray:
        """(slices + 1, ranks): the same for those of the copied rows that a rank owns, counted for each rank."""
        owned = [[each.owned_copies(rank) for rank in range(self.ranks)] for each in self.slices]
        return np.vstack([np.zeros((1, self.ranks), np.int64), np.cumsum(owned, axis=0)])

    @property
    def most_owned_copies(self) -> int:
        """How many copied rows the rank owns that owns the most."""
        return int(self.first_owned_copy[-1].max())

    @property
    def column_wise_tables(self) -> list[str]:
        """The names of the tables of which the stack has some columns alone."""
        return [each.source.name for each in self.slices if each.table != each.source]

    def local(self, rank: int) -> Stack:
        """What a rank's variable holds, as a stack of shortened tables: so optimizers and checkpoints know it."""
        held = [(each, each.rows(rank)) for each in self.slices]
        tables = tuple(
            replace(each.table, vocabulary_size=len(rows), frequent_rows=None) for each, rows in held if rows
        )
        pieces = tuple(TableShard(each.source.name, rank, rows, each.columns) for each, rows in held if rows)
        return replace(self.stack, tables=tables, pieces=pieces)


def shard(plan: Plan, tables: Iterable[TableConfig], sums: bool = False) -> list[Shards]:
    """Stack the slices of some tables by width and optimizer, in the order the tables come.

    With `sums` tables whose plan says so have stacks of their own, from which sums are exchanged.
    """
    by_name: dict[str, Slice] = {}
    for table in tables:
        for each in slices(plan, table.name):
            by_name.setdefault(each.table.name, each)
    summed = {name for name, each in by_name.items() if sums and plan[each.source.name].exchange == "sums"}
    stacks = stack_tables((each.table for each in by_name.values()), summed)
    return [
        Shards(
            stack, tuple(by_name[table.name] for table in stack.tables), plan.ranks, stack.tables[0].name in summed
        )
        for stack in stacks
    ]
