"""Tables in Keras's own files: rank 0 writes full tables, and every rank reads its own rows of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from kerasrec.parallel import comm
from kerasrec.parallel.exchange.gather_table import gather_blocks, gather_slice
from kerasrec.tables.row_io import row_blocks, row_dtype
from kerasrec.tables.sharding import ShardedStack
from kerasrec.tables.stack import Stack
from kerasrec.typing import Variable


def full_table_on_rank_0(
    stacks: Sequence[ShardedStack], variables: Sequence[Variable], table: str
) -> np.ndarray | None:
    """Return a full table on rank 0, None on the others. Every rank must call it.

    Args:
        stacks: those that have the table's columns, and maybe others.
        variables: this rank's rows of each stack, or what an optimizer keeps for them.
        table: the table's name.
    """
    if comm.size() == 1:
        for shards, variable in zip(stacks, variables, strict=True):
            for part in shards.slices:
                if part.source.name == table:
                    return gather_slice(shards, part, variable)
    blocks = [rows for _, rows in gather_blocks(stacks, variables, table)]
    return None if comm.rank() else np.concatenate(blocks)


def key_of(table: str) -> str:
    """Return a table's key in a Keras file, where "/" separates groups and "." is itself a group."""
    plain = table.strip(".") and "/" not in table and not table.startswith("table ")
    return table if plain else f"table {quote(table, safe='')}"


def saved_tables(tables: Iterable[str], store: Any) -> dict[str, Any]:
    """Return those of `tables` that are in a Keras file, by name, which in a file of release 0.1 is their key."""
    keys = {table: key_of(table) if key_of(table) in store else table for table in tables}
    return {table: store[key] for table, key in keys.items() if key in store}


def saved_blocks(stack: Stack, store: Mapping[str, Any]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield a rank's rows out of a Keras file of full tables, each block with its first row in the rank's stack.

    Args:
        stack: the rank's.
        store: by the table's name, the full table or what an optimizer keeps for its rows.
    """
    for table, shard in zip(stack.tables, stack.shards, strict=True):
        saved, offset = store[shard.table], stack.offsets[table.name]
        for start, stop in row_blocks(table.vocabulary_size, 4 * table.embedding_dim):
            rows = shard.rows[start:stop]
            values = np.asarray(saved[rows.start : rows.stop], row_dtype(saved.dtype))
            yield offset + start, values[:: rows.step, slice(*shard.columns)]
