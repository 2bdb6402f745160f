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
    """Tables of one width, stored one under another in one variable: one lookup then serves them all.

    Row r of `tables[i]` is row `offsets[i] + r` of the stack. `optimizer` trains these tables; None leaves
    them to the model's. `pieces` tells which rows and columns of the whole tables `tables` are, in a stack that is
    one rank's share.
    """

    name: str
    embedding_dim: int
    tables: tuple[TableConfig, ...]
    optimizer: Any = None
    pieces: tuple[TableShard, ...] = ()

    @cached_property
    def offsets(self) -> dict[str, int]:
        """The first row of each table, by its name."""
        offsets, row = {}, 0
        for table in self.tables:
            offsets[table.name] = row
            row += table.vocabulary_size
        return offsets

    def span(self, table: str) -> tuple[int, int]:
        """The first row of a table and the one after its last."""
        sizes = {each.name: each.vocabulary_size for each in self.tables}
        return self.offsets[table], self.offsets[table] + sizes[table]

    @property
    def rows(self) -> int:
        return sum(table.vocabulary_size for table in self.tables)


def stack_tables(tables: Iterable[TableConfig], apart: Collection[str] = ()) -> list[Stack]:
    """Group tables by width and optimizer, in the order they come; those named in `apart` not with others.

    An optimizer is made for each configuration; stacks of several widths share it.

    Raises:
        ValueError: two different tables have the same name.
    """
    by_name: dict[str, TableConfig] = {}
    for table in tables:
        if by_name.setdefault(table.name, table) != table:
            raise ValueError(f"two different tables are named {table.name!r}: {by_name[table.name]} and {table}")
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
