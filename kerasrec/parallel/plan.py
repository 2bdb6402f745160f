"""How tables are laid out in memory; a plan is data and allocates nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from kerasrec.parallel.tables import TableConfig


@dataclass(frozen=True)
class Stack:
    """Tables of one width, stored one under another in one variable: one lookup then serves them all.

    Row r of `tables[i]` is row `offsets[i] + r` of the stack.
    """

    name: str
    embedding_dim: int
    tables: tuple[TableConfig, ...]

    @cached_property
    def offsets(self) -> dict[str, int]:
        """The first row of each table, by its name."""
        offsets, row = {}, 0
        for table in self.tables:
            offsets[table.name] = row
            row += table.vocabulary_size
        return offsets

    @property
    def rows(self) -> int:
        return sum(table.vocabulary_size for table in self.tables)


def stack_tables(tables: Iterable[TableConfig]) -> list[Stack]:
    """Group tables by width, in the order they come.

    Raises:
        ValueError: two different tables have the same name.
    """
    by_name: dict[str, TableConfig] = {}
    for table in tables:
        if by_name.setdefault(table.name, table) != table:
            raise ValueError(f"two different tables are named {table.name!r}: {by_name[table.name]} and {table}")
    by_width: dict[int, list[TableConfig]] = {}
    for table in by_name.values():
        by_width.setdefault(table.embedding_dim, []).append(table)
    return [Stack(f"tables_{width}", width, tuple(group)) for width, group in by_width.items()]
