"""Tables in Keras's own files: whole ones, that rank 0 writes and every rank reads its rows of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from kerasrec.parallel import comm
from kerasrec.parallel.exchange.gather_table import gathered, whole
from kerasrec.tables.row_io import kept_in, row_blocks
from kerasrec.tables.sharding import Shards
from kerasrec.tables.stack import Stack


def whole_for_file(stacks: Sequence[Shards], variables: Sequence[Any], table: str) -> np.ndarray | None:
    """A whole table on rank 0, None on the others; all ranks must call it.

    Args:
        stacks: those that have the table's slices, and maybe others.
        variables: this rank's rows of each, or what an optimizer keeps for them.
        table: its name.
    """
    if comm.size() == 1:
        for shards, variable in zip(stacks, variables, strict=True):
            for part in shards.slices:
                if part.source.name == table:
                    return whole(shards, part, variable)
    blocks = [rows for _, rows in gathered(stacks, variables, table)]
    return None if comm.rank() else np.concatenate(blocks)


def key_of(table: str) -> str:
    """The key of a table in a Keras file, where "/" separates groups and "." is a group itself."""
    plain = table.strip(".") and "/" not in table and not table.startswith("table ")
    return table if plain else f"table {quote(table, safe='')}"


def saved_tables(tables: Iterable[str], store: Any) -> dict[str, Any]:
    """Those of some tables that are in a Keras file, by name; in one of release 0.1 under just that."""
    keys = {table: key_of(table) if key_of(table) in store else table for table in tables}
    return {table: store[key] for table, key in keys.items() if key in store}


def saved_blocks(stack: Stack, store: Any) -> Iterator[tuple[int, np.ndarray]]:
    """The rows of a rank out of a Keras file of whole tables, block by block.

    `store` has, by the table's name, the table or what an optimizer keeps for its rows.
    """
    for table, piece in zip(stack.tables, stack.pieces, strict=True):
        saved, offset = store[piece.table], stack.offsets[table.name]
        for start, stop in row_blocks(table.vocabulary_size, 4 * table.embedding_dim):
            rows = piece.rows[start:stop]
            values = np.asarray(saved[rows.start : rows.stop], kept_in(saved.dtype))
            yield offset + start, values[:: rows.step, slice(*piece.columns)]
