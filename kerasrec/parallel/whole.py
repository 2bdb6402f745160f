"""Whole tables out of what each rank holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasrec.parallel import comm
from kerasrec.parallel.rows import read_rows
from kerasrec.parallel.shards import Shards, Slice


def whole(shards: Shards, part: Slice, variable: Any) -> np.ndarray:
    """All rows of one slice of a table, on every rank; all ranks must call it.

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
    held = np.diff(shards.first_local_row, axis=0)[place]
    everyones = np.split(comm.allgather(mine, f"whole.{part.table.name}").numpy(), np.cumsum(held)[:-1])
    table = np.empty((part.table.vocabulary_size, *mine.shape[1:]), mine.dtype)
    for rank, rows in enumerate(everyones):
        if held[rank]:
            span = part.rows(rank)
            table[span.start :: span.step] = rows
    return table
