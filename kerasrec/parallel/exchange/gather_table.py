"""Full tables, gathered from the rows of all ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kerasrec.parallel import comm
from kerasrec.tables.row_io import read_rows, row_blocks
from kerasrec.tables.sharding import ColumnSlice, ShardedStack


def gather_slice(shards: ShardedStack, part: ColumnSlice, variable: Any) -> np.ndarray:
    """Return all rows of one slice of a table. Every rank must call it, and gets them.

    Args:
        shards: the stack it is in.
        part: the slice.
        variable: this rank's rows of the stack, or what an optimizer keeps for them.
    """
    place, rank = shards.slices.index(part), comm.rank()
    start, stop = (int(shards.first_local_row[end, rank]) for end in (place, place + 1))
    mine = read_rows(variable, start, stop)
    if shards.ranks == 1:
        return mine
    counts = np.diff(shards.first_local_row, axis=0)[place]
    shards_of_ranks = np.split(comm.allgather(mine, f"whole.{part.table.name}").numpy(), np.cumsum(counts)[:-1])
    table = np.empty((part.table.vocabulary_size, *mine.shape[1:]), mine.dtype)
    for rank, rows in enumerate(shards_of_ranks):
        if counts[rank]:
            span = part.rows(rank)
            table[span.start :: span.step] = rows
    return table


def gather_blocks(
    stacks: Sequence[ShardedStack], variables: Sequence[Any], table: str
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield a full table on rank 0, about 16 MiB of rows at a time; other ranks send, and get rows of no column.

    Every rank must exhaust it.

    Args:
        stacks: those that have the table's slices.
        variables: this rank's rows of each.
        table: its name.
    """
    slices = [
        (part, variable, int(shards.first_local_row[place, comm.rank()]))
        for shards, variable in zip(stacks, variables, strict=True)
        for place, part in enumerate(shards.slices)
        if part.source.name == table
    ]
    slices.sort(key=lambda entry: entry[0].columns)
    source = slices[0][0].source
    for start, stop in row_blocks(source.vocabulary_size, 4 * source.embedding_dim):
        columns = [_block(*entry, start, stop) for entry in slices]
        yield start, np.concatenate(columns, axis=1)


def _block(part: ColumnSlice, variable: Any, first: int, start: int, stop: int) -> np.ndarray:
    """Return the rows [start, stop) of a slice, on rank 0."""
    spans = [_within(part.rows(rank), start, stop) for rank in range(comm.size())]
    low, high = spans[comm.rank()]
    mine = read_rows(variable, first + low, first + high)
    splits = [high - low] + [0] * (comm.size() - 1)
    received, parts = comm.alltoall(mine, splits, f"gathered.{part.table.name}")
    if comm.rank():
        return np.empty((stop - start, 0), np.float32)
    block = np.empty((stop - start, mine.shape[1]), mine.dtype)
    ends = np.cumsum(parts.numpy())
    for rank, rows in enumerate(np.split(received.numpy(), ends[:-1])):
        if len(rows):
            numbers = part.rows(rank)[slice(*spans[rank])]
            block[numbers.start - start :: numbers.step] = rows
    return block


def _within(rows: range, start: int, stop: int) -> tuple[int, int]:
    """Return the positions [low, high) of the increasing rows that are in [start, stop)."""
    low, high = (len(range(rows.start, min(end, rows.stop), rows.step)) for end in (start, stop))
    return low, high
