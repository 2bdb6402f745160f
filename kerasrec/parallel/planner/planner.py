"""`kr.parallel.plan`: where tables live, so that the slowest rank is quick and each rank's memory is enough.

Separate steps with plain data between them: `candidates` enumerates placements, `costs` estimates them, `search`
chooses and places; here is what a user calls, and what is said of tables that do not fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kerasrec.parallel.planner import cost_model
from kerasrec.parallel.planner.cost_model import Demand, Step
from kerasrec.parallel.planner.search import leanest, search
from kerasrec.tables.byte_sizes import WEIGHT_BYTES, WIRE_BYTES, format_bytes, parse_bytes
from kerasrec.tables.config import FeatureConfig, TableConfig
from kerasrec.tables.plan import Plan, distinct_tables


class DoesNotFit(ValueError):
    """The tables need more memory than the ranks have; the message says how much and what to do."""


def plan(
    tables: Mapping[str, TableConfig | FeatureConfig] | Iterable[TableConfig | FeatureConfig],
    ranks: int | None = None,
    memory: int | str | None = "80GiB",
    batch_size: int = 65_536,
    *,
    bandwidth: float = 25e9,
    memory_bandwidth: float = 1e12,
    optimizer: Any = "adagrad",
    dtype: str = "float32",
    wire_dtype: str | None = None,
    ranks_per_node: int | None = None,
) -> Plan:
    """Choose where tables live: of all plans tried that fit in memory, that whose worst rank takes the least time.

    Nothing is allocated: a laptop plans a model of 22 TB on 512 GPUs. The same arguments give the same plan.

    Args:
        tables: `kr.TableConfig`s or `kr.FeatureConfig`s. A feature brings its hotness; a bare table is looked up
            once a row. A `placement` other than "auto" and `frequent_rows` are obeyed.
        ranks: how many; None takes the smallest number whose memory holds the tables.
        memory: what each rank has for tables, optimizer state and exchange: bytes, or a text such as "80GiB".
            None sets no limit; `ranks` must then be given.
        batch_size: the rows of a batch on each rank, as for `kr.Loader`.
        bandwidth: bytes that a rank sends to other ranks in a second, and receives at the same time. 25e9 is a
            network card of 200 Gb/s for each rank.
        memory_bandwidth: bytes of its own memory that a rank reads or writes in a second, row by row.
        optimizer: what trains tables that have no optimizer of their own: a name or an optimizer.
        dtype: what tables and their optimizers' state are kept in, "float32" or "float64".
        wire_dtype: the dtype in which vectors and gradients are sent: "float32", "float64", "bfloat16" or
            "float16"; None sends them in `dtype`.
        ranks_per_node: as the layer has it: by way of nodes rows alone are exchanged, so no sums are planned.
            Bytes are predicted as if ranks exchanged directly.

    Returns:
        A `Plan` with `predicted` figures; print it.

    Raises:
        DoesNotFit: (a ValueError) a rank would need more than `memory`; says by how much and what would help.
        ValueError: an argument out of its range, two different tables of one name, an unknown optimizer.

    Example:

    >>> item = kr.TableConfig("item", 10_000_000, 64)
    >>> print(kr.parallel.plan([kr.FeatureConfig("item", item)], ranks=8, memory="16GiB", batch_size=8192))

    Source: the parts are those of TorchRec's planner (https://docs.pytorch.org/torchrec/planner-api-reference.html):
    enumerate, estimate, partition. Hybrid is HugeCTR's embedding (https://arxiv.org/abs/2210.08803).
    """
    if ranks is None and memory is None:
        raise ValueError("give the number of ranks, or the memory that each has")
    for name, number in (("ranks", ranks), ("batch_size", batch_size)):
        if number is not None and (number != int(number) or number < 1):
            raise ValueError(f"{name} must be a whole number above 0, not {number!r}")
    if not (bandwidth > 0 and memory_bandwidth > 0):
        raise ValueError(f"bandwidths must be above 0, not {bandwidth!r} and {memory_bandwidth!r}")
    if dtype not in WEIGHT_BYTES:
        raise ValueError(f"dtype must be one of {sorted(WEIGHT_BYTES)}, not {dtype!r}")
    wire_dtype = wire_dtype or dtype
    if wire_dtype not in WIRE_BYTES:
        raise ValueError(f"wire_dtype must be one of {sorted(WIRE_BYTES)}; got {wire_dtype!r}")
    limit = math.inf if memory is None else parse_bytes(memory)
    demands = demands_of(tables, optimizer, dtype)
    if not demands:
        raise ValueError("a plan needs at least one table")

    def step(ranks: int) -> Step:
        sums = ranks_per_node in (None, ranks)
        return Step(ranks, batch_size, bandwidth, memory_bandwidth, wire_dtype, sums)

    if ranks is None:
        ranks = _smallest(demands, step, limit)
        if ranks is None:
            raise _does_not_fit(demands, step, 1, limit)
    planned = search(demands, step(ranks), limit)
    if planned is None:
        raise _does_not_fit(demands, step, ranks, limit)
    plans, predicted = planned
    return Plan(ranks, tuple(plans), predicted, None if memory is None else int(limit))


def demands_of(
    tables: Mapping[str, TableConfig | FeatureConfig] | Iterable[TableConfig | FeatureConfig],
    optimizer: Any,
    dtype: str = "float32",
) -> list[Demand]:
    """The tables with their features' hotness and what their optimizers keep."""
    kept, size = cost_model.optimizer_state(optimizer), WEIGHT_BYTES[dtype]
    return [
        Demand(
            table,
            hotness,
            *(kept if table.optimizer is None else cost_model.optimizer_state(table.optimizer)),
            size,
        )
        for table, hotness in distinct_tables(tables)
    ]


def _smallest(demands: Sequence[Demand], step: Callable[[int], Step], limit: float) -> int | None:
    """The fewest ranks whose memory suffices; None where no number does."""
    tables = [(demand, demand.table.vocabulary_size, demand.table.embedding_dim) for demand in demands]
    held = sum(rows * sum(demand.row_bytes(width)) for demand, rows, width in tables)
    lowest = max(1, math.ceil(held / limit))
    if sum(cost_model.result_bytes(demand, step(lowest)) for demand in demands) > limit:
        return None
    failed, ranks = lowest - 1, lowest
    while leanest(demands, step(ranks), limit) is None:
        failed, ranks = ranks, ranks + max(1, ranks // 4)
        if ranks > 16 * lowest + 16:  # tables and state are then a sixteenth: it is the buffers that are too large
            return None
    while ranks - failed > 1:
        middle = (failed + ranks) // 2
        fits = leanest(demands, step(middle), limit) is not None
        failed, ranks = (failed, middle) if fits else (middle, ranks)
    return ranks


def _does_not_fit(demands: Sequence[Demand], step: Callable[[int], Step], ranks: int, limit: float) -> DoesNotFit:
    placed = leanest(demands, step(ranks), limit, hold=False)
    assert placed is not None
    needed = cost_model.predict(placed.plans(demands), demands, step(ranks))
    worst = int(np.argmax(needed.memory))
    tables, state, buffers = needed.table_bytes[worst], needed.state_bytes[worst], needed.buffer_bytes[worst]
    need, total = tables + state + buffers, sum(needed.memory)
    enough = _smallest(demands, step, limit)
    advice = []
    large = max(range(len(demands)), key=lambda at: placed.chosen[at].part_bytes)
    if placed.chosen[large].part_bytes > limit and demands[large].table.placement != "auto":
        part, table = format_bytes(placed.chosen[large].part_bytes), demands[large].table
        advice.append(f"placement 'auto' for table {table.name!r}, which needs {part} {table.placement}")
    if enough is not None and enough > ranks:
        advice.append(f"at least {enough} ranks of this memory")
    if state > 0.1 * tables:
        advice.append("an optimizer that keeps less, such as RowwiseAdagrad (one number a row)")
    if buffers > 0.2 * limit:
        advice.append(f"a smaller batch than {step(ranks).batch_size:,} rows a rank")
    advice.append("more memory a rank, narrower or smaller tables")
    return DoesNotFit(
        f"{len(demands):,} tables do not fit {ranks:,} x {format_bytes(limit)}: the fullest rank, {worst}, needs "
        f"{format_bytes(need)} (tables {format_bytes(tables)}, optimizer state {format_bytes(state)}, buffers "
        f"{format_bytes(buffers)}), {format_bytes(need - limit)} over its limit; all ranks together have "
        f"{format_bytes(limit * ranks)} and need {format_bytes(total)}. What helps: {'; '.join(advice)}"
    )
