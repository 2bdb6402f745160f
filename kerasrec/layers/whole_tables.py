"""Whole tables on rank 0, for a model that is to be served by one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasrec._keras import layers_of
from kerasrec.layers.embedding import DistributedEmbedding, Placed
from kerasrec.parallel import comm
from kerasrec.parallel.comm.raise_on_all import raise_on_all
from kerasrec.parallel.exchange.gather_table import gathered
from kerasrec.tables.plan import distinct_tables, plan_from_placements
from kerasrec.tables.row_io import new_rows
from kerasrec.tables.sharding import Shards, shard


@contextmanager
def whole_tables(model: Any) -> Iterator[None]:
    """For the duration, rank 0's `DistributedEmbedding` layers look whole tables up in its own memory.

    All ranks must come here. They send rank 0 their rows some 16 MiB at a time and themselves keep no copy; what
    the model answers there, on rank 0, is to the bit what it would answer on one rank.

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
            tables = _gather(layer)
            if comm.rank() == 0:
                stack.enter_context(layer.placed_as(tables))
        yield


def _gather(layer: DistributedEmbedding) -> Placed:
    """A layer's tables as one rank holds them; on other ranks without the variables."""
    features = layer.features
    plan = plan_from_placements(features, 1, "table_wise")
    shards = tuple(shard(plan, [table for table, _ in distinct_tables(features)]))
    variables = []
    for alone in shards:
        shape = alone.stack.rows, alone.stack.embedding_dim
        if comm.rank() == 0:
            values = new_rows(shape, layer.table_dtype, _rows(layer, alone))
            variables.append(keras.Variable(values, dtype=values.dtype, autocast=False, name=alone.stack.name))
        else:
            for _ in _rows(layer, alone):
                pass
    parts = tuple((name, {name: config}) for name, config in features.items())
    return Placed(parts, shards, variables)


def _rows(layer: DistributedEmbedding, alone: Shards) -> Iterator[tuple[int, np.ndarray]]:
    """The rows of a stack on one rank, block by block; other ranks get empty ones, and only send."""
    for table, first in alone.stack.offsets.items():
        for start, values in gathered(layer.placed.shards, layer.placed.variables, table):
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
