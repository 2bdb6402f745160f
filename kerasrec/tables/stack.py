"""How tables are grouped in memory; a stack is data and allocates nothing."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kerasrec.tables.config import TableConfig
from kerasrec.tables.table_plan import TableShard


@dataclass(frozen=True)
class Stack:
    """Tables of one width in one variable, one after another, so that one lookup serves them all.

    Row r of `table` is row `offsets[table.name] + r` of the stack.

    Args:
        name: of the variable.
        embedding_dim: the tables' width.
        tables: in order.
        optimizer: trains these tables; None leaves them to the model's.
        shards: in a stack that is one rank's, which rows and columns of the full tables its `tables` are.
    """

    name: str
    embedding_dim: int
    tables: tuple[TableConfig, ...]
    optimizer: Any = None
    shards: tuple[TableShard, ...] = ()

    @cached_property
    def offsets(self) -> dict[str, int]:
        """The first row of each table, by its name."""
        offsets, row = {}, 0
        for table in self.tables:
            offsets[table.name] = row
            row += table.vocabulary_size
        return offsets

    def span(self, table: str) -> tuple[int, int]:
        """Return the first row of a table and the one after its last."""
        sizes = {each.name: each.vocabulary_size for each in self.tables}
        return self.offsets[table], self.offsets[table] + sizes[table]

    @property
    def rows(self) -> int:
        return sum(table.vocabulary_size for table in self.tables)


def stack_tables(tables: Iterable[TableConfig], apart: Collection[str] = ()) -> list[Stack]:
    """Group tables by width and optimizer, in their order.

    One optimizer is made for each configuration, which stacks of several widths share.

    Args:
        tables: a table that is given twice counts once.
        apart: names of tables that are not stacked with the others.

    Raises:
        ValueError: two different tables with the same name.
    """
    by_name: dict[str, TableConfig] = {}
    for table in tables:
        if by_name.setdefault(table.name, table) != table:
            raise ValueError(
                f"two different tables are named {table.name!r}: {by_name[table.name]} and {table}; give each a "
                "name of its own"
            )
    groups: dict[tuple[int, str, bool], list[TableConfig]] = {}
    optimizers = {"null": None}
    for table in by_name.values():
        config = json.dumps(table.optimizer, sort_keys=True)
        if config not in optimizers:
            optimizers[config] = _new_optimizer(table.optimizer)
        groups.setdefault((table.embedding_dim, config, table.name in apart), []).append(table)
    stacks: list[Stack] = []
    for (width, config, _), group in groups.items():
        others = sum(stack.embedding_dim == width for stack in stacks)
        name = f"tables_{width}_{others + 1}" if others else f"tables_{width}"
        stacks.append(Stack(name, width, tuple(group), optimizers[config]))
    return stacks


def _new_optimizer(config: Any) -> Any:
    import keras

    return keras.optimizers.deserialize(deepcopy(config))  # Keras changes what it is given
