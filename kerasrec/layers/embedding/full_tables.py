"""Full tables on rank 0, for a model that will be served by one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kerasrec._keras import layers_of
from kerasrec.layers.embedding.distributed_embedding import DistributedEmbedding
from kerasrec.layers.embedding.local_lookup import LocalLookup
from kerasrec.parallel import comm
from kerasrec.parallel.comm.raise_on_all import raise_on_all
from kerasrec.parallel.exchange.gather_table import gather_blocks
from kerasrec.tables.plan import distinct_tables, plan_from_placements
from kerasrec.tables.row_io import new_rows
from kerasrec.tables.sharding import ShardedStack, shard_tables
from kerasrec.tables.variables import TableVariable
from kerasrec.typing import Tensor


@contextmanager
def full_tables_on_rank_0(model: Any) -> Iterator[None]:
    """Let rank 0's `DistributedEmbedding` layers look all tables up in its own memory for the duration.

    Every rank must enter it. The others send rank 0 their rows, about 16 MiB at a time. On rank 0 the model then
    predicts what it would predict on one rank, bit for bit.

    Raises:
        MemoryError: rank 0 lacks the memory.
    """
    if comm.size() == 1:
        yield
        return
    layers = [each for each in layers_of(model) if isinstance(each, DistributedEmbedding)]
    raise_on_all(lambda: _refuse_too_large(layers) if comm.rank() == 0 else None)
    with ExitStack() as stack:
        for layer in layers:
            lookup = _gather(layer)
            if lookup is not None:
                stack.enter_context(layer.looking_up(lookup))
        yield


def _gather(layer: DistributedEmbedding) -> LocalLookup | None:
    """Return a lookup in all of a layer's tables in one rank's memory, on rank 0; other ranks send their rows."""
    features = layer.features
    plan = plan_from_placements(features, 1, "table_wise")
    stacks = shard_tables(plan, [table for table, _ in distinct_tables(features)])
    if comm.rank() == 0:
        variables = [TableVariable(each, 0, partial(_all_rows, layer, each), layer.table_dtype) for each in stacks]
        return LocalLookup(features, plan, variables)
    for each in stacks:
        for _ in _rows(layer, each):
            pass
    return None


def _all_rows(layer: DistributedEmbedding, shards: ShardedStack, shape: tuple[int, int], dtype: str) -> Tensor:
    return new_rows(shape, dtype, _rows(layer, shards))


def _rows(layer: DistributedEmbedding, shards: ShardedStack) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the rows of a stack of full tables, block by block; on ranks but 0 empty ones, which only send."""
    variables = layer.lookup.variables
    for table, first in shards.stack.offsets.items():
        for start, values in gather_blocks([each.shards for each in variables], variables, table):
            yield first + start, values


def _refuse_too_large(layers: list[DistributedEmbedding]) -> None:
    tables = [(placed.table, np.dtype(layer.table_dtype)) for layer in layers for placed in layer.plan.tables]
    needed = sum(each.itemsize * table.vocabulary_size * table.embedding_dim for table, each in tables)
    if needed > (free := free_memory()):
        raise MemoryError(
            f"the model's tables take {needed / 2**30:.1f} GiB in one process, but rank 0 has "
            f"{free / 2**30:.1f} GiB of memory free. A SavedModel is served by one process: save the model with "
            "kr.parallel.save, restore it in one process on a machine with more memory, and export it there"
        )


def free_memory() -> int:
    """Bytes that this process may still take, as Linux and its container tell; elsewhere as much as it likes."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return 2**63
    try:
        limit, used = (Path(f"/sys/fs/cgroup/memory.{what}").read_text().strip() for what in ("max", "current"))
        return free if limit == "max" else min(free, int(limit) - int(used))
    except OSError:
        return free
