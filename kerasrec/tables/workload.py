"""What a plan is made for: tables with their lookups and optimizer state, and the training step that uses them."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasrec.tables.access_frequency import Frequencies, power_law_head
from kerasrec.tables.byte_sizes import WEIGHT_BYTES, WIRE_BYTES, bytes_for
from kerasrec.tables.config import TableConfig
from kerasrec.tables.optimizer_state import optimizer_state
from kerasrec.tables.plan import Tables, distinct_tables
from kerasrec.tables.table_plan import shard_sizes


@dataclass(frozen=True)
class TableWorkload:
    """A table, how its features look it up, and how much its optimizer stores.

    Args:
        table: the table.
        hotness: ids per row of data, for each feature that looks up the table.
        state_per_weight: numbers that the optimizer stores for each weight.
        state_per_row: numbers that the optimizer stores for each row.
        weight_bytes: bytes of a weight, and of a number of the optimizer's state.
    """

    table: TableConfig
    hotness: tuple[float, ...]
    state_per_weight: int
    state_per_row: int
    weight_bytes: int = 4

    @cached_property
    def shape(self) -> Hashable:
        """All that a plan's costs depend on: tables of the same shape have the same costs."""
        table = self.table
        sizes = (table.vocabulary_size, table.embedding_dim, table.combiner is None, table.lookup_cdf)
        state = (self.state_per_weight, self.state_per_row, self.weight_bytes)
        return sizes, table.placement, table.frequent_rows, self.hotness, state

    @property
    def frequencies(self) -> Frequencies:
        """How lookups spread over the rows; a power law if the table does not say."""
        rows = self.table.vocabulary_size
        return Frequencies(rows, self.table.lookup_cdf or power_law_head(rows))

    @property
    def id_bytes(self) -> int:
        """Bytes of an id that is sent to another rank."""
        return bytes_for(self.table.vocabulary_size - 1)

    def row_bytes(self, columns: int) -> tuple[int, int]:
        """Return the bytes of `columns` weights of a row, and of the optimizer's state for them."""
        state = columns * self.state_per_weight + self.state_per_row
        return columns * self.weight_bytes, state * self.weight_bytes

    @property
    def total_bytes(self) -> int:
        """Bytes of all weights and their state."""
        return self.table.vocabulary_size * sum(self.row_bytes(self.table.embedding_dim))

    def most_owners(self, placement: str) -> int:
        """Return over how many ranks the table can be spread."""
        sizes = {"table_wise": 1, "column_wise": self.table.embedding_dim}
        return sizes.get(placement, self.table.vocabulary_size)

    def owned_bytes(self, placement: str, owners: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the bytes of weights and of optimizer state that each of `owners` ranks owns, (owners,) each."""
        rows, columns = shard_sizes(self.table, placement, owners)
        state = columns * self.state_per_weight + self.state_per_row
        return rows * columns * self.weight_bytes, rows * state * self.weight_bytes

    def replica_bytes(self, frequent_rows: int) -> int:
        """Return the bytes of a replica of the frequent rows; the state stays with their owners."""
        return frequent_rows * self.row_bytes(self.table.embedding_dim)[0]

    def result_bytes(self, batch_size: int) -> int:
        """Return the bytes of a batch's looked-up vectors (one per list, or per id) and of their gradients."""
        vectors = sum(hot if self.table.combiner is None else 1.0 for hot in self.hotness)
        return int(2 * batch_size * vectors * self.table.embedding_dim * self.weight_bytes)


def table_workloads(tables: Tables, optimizer: Any, dtype: str = "float32") -> list[TableWorkload]:
    """Return the workload of each distinct table.

    Args:
        tables: tables, or the features that look them up.
        optimizer: what trains the tables that have no optimizer of their own.
        dtype: in which weights and the optimizer's state are stored.
    """
    if dtype not in WEIGHT_BYTES:
        raise ValueError(f"dtype must be one of {sorted(WEIGHT_BYTES)}; got {dtype!r}")
    default_state = optimizer_state(optimizer)
    workloads = []
    for table, hotness in distinct_tables(tables):
        state = default_state if table.optimizer is None else optimizer_state(table.optimizer)
        workloads.append(TableWorkload(table, hotness, *state, WEIGHT_BYTES[dtype]))
    if not workloads:
        raise ValueError("tables is empty; pass at least one table")
    return workloads


@dataclass(frozen=True)
class Step:
    """A training step and the ranks that take it.

    Args:
        ranks: number of ranks.
        batch_size: rows per batch on each rank.
        bandwidth: bytes per second that a rank sends to others and, at the same time, receives.
        memory_bandwidth: bytes per second that a rank reads and writes in its own memory.
        wire_dtype: dtype in which vectors and gradients are sent.
        ranks_per_node: as the layer has it; ranks that exchange by way of nodes exchange rows, not sums.
        memory: bytes on each rank for tables, optimizer state and exchange.
    """

    ranks: int
    batch_size: int
    bandwidth: float
    memory_bandwidth: float
    wire_dtype: str
    ranks_per_node: int | None = None
    memory: float = math.inf

    def __post_init__(self) -> None:
        for name in ("ranks", "batch_size"):
            if (number := getattr(self, name)) != int(number) or number < 1:
                raise ValueError(f"{name} must be an integer >= 1; got {number!r}")
        for name in ("bandwidth", "memory_bandwidth"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be > 0 bytes per second; got {getattr(self, name)!r}")
        if self.wire_dtype not in WIRE_BYTES:
            raise ValueError(f"wire_dtype must be one of {sorted(WIRE_BYTES)}; got {self.wire_dtype!r}")
