"""Whole tables out of what each rank holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from kerasrec.parallel import comm
from kerasrec.parallel.rows import read_rows
from kerasrec.parallel.shards import Shards, Slice


def whole_table(held: Iterable[tuple[Shards, Any]], table: str, root: int | None = None) -> np.ndarray | None:
    """All rows and columns of a table; all ranks must call it.

    Args:
        held: stacks with this rank's rows of each, or with what an optimizer keeps for them.
        table: its name.
        root: the rank that gets the table, the others None; every rank if not given.

    Raises:
        KeyError: the table is in none of the stacks.
    """
    parts = {
        part.columns: whole(shards, part, variable, root)
        for shards, variable in held
        for part in shards.slices
        if part.source.name == table
    }
    if not parts:
        raise KeyError(f"no table {table!r}")
    if root not in (None, comm.rank()):
        return None
    in_order: list[Any] = [parts[columns] for columns in sorted(parts)]
    return in_order[0] if len(in_order) == 1 else np.concatenate(in_order, axis=1)


def whole(shards: Shards, part: Slice, variable: Any, root: int | None = None) -> np.ndarray | None:
    """All rows of one slice of a table; all ranks must call it.

    Args:
        shards: the stack it is in.
        part: the slice.
        variable: this rank's rows of the stack, or what an optimizer keeps for them.
        root: the rank that gets them, the others None; every rank if not given.
    """
    place, rank = shards.slices.index(part), comm.rank()
    start, stop = (int(shards.first_local_row[end, rank]) for end in (place, place + 1))
    mine = read_rows(variable, start, stop)
    if shards.ranks == 1:
        return mine
    name, held = f"whole.{part.table.name}", np.diff(shards.first_local_row, axis=0)[place]
    if root is None:
        received = comm.allgather(mine, name)
    else:
        received, _ = comm.alltoall(mine, len(mine) * (np.arange(shards.ranks) == root), name)
        if rank != root:
            return None
    table = np.empty((part.table.vocabulary_size, *mine.shape[1:]), mine.dtype)
    for owner, rows in enumerate(np.split(received.numpy(), np.cumsum(held)[:-1])):
        if held[owner]:
            span = part.rows(owner)
            table[span.start :: span.step] = rows
    return table
