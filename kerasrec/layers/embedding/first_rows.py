"""The values that a rank's rows of tables begin with, block by block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kerasrec.tables.initializers import shard_blocks
from kerasrec.tables.row_io import new_rows
from kerasrec.tables.sharding import ShardedStack
from kerasrec.typing import Tensor


def first_rows(shards: ShardedStack, rank: int, seed: int, shape: tuple[int, int], dtype: str) -> Tensor:
    """Return the rows that a rank's variable begins with."""

    def blocks() -> Iterator[tuple[int, np.ndarray]]:
        for each, start in zip(shards.slices, shards.first_local_row[:, rank].tolist(), strict=False):
            if local_rows := each.rows(rank):
                for first, rows in shard_blocks(each.source, seed, local_rows, each.columns):
                    yield start + first, rows

    return new_rows(shape, dtype, blocks())


def first_replicas(shards: ShardedStack, seed: int, shape: tuple[int, int], dtype: str) -> Tensor:
    """Return the rows that every rank's replicas begin with."""

    def blocks() -> Iterator[tuple[int, np.ndarray]]:
        for each, start in zip(shards.slices, shards.first_replica.tolist(), strict=False):
            if each.frequent_rows:
                for first, rows in shard_blocks(each.source, seed, range(each.frequent_rows), each.columns):
                    yield start + first, rows

    return new_rows(shape, dtype, blocks())
