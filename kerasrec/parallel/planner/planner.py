"""`kr.parallel.plan`: place tables so that the slowest rank is quick and every rank has enough memory.

As in TorchRec's planner (https://docs.pytorch.org/torchrec/planner-api-reference.html) there are steps with plain
data between them: `enumerate` lists the options of each table, `cost_model` estimates them, `search` chooses one
per table and assigns tables to ranks. Hybrid placement is HugeCTR's (https://arxiv.org/abs/2210.08803).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from kerasrec.parallel.planner.cost_model import predict
from kerasrec.parallel.planner.search import Workloads, leanest, search
from kerasrec.tables.byte_sizes import parse_bytes
from kerasrec.tables.plan import Plan, Tables
from kerasrec.tables.plan_report import describe_shortfall
from kerasrec.tables.workload import Step, table_workloads


class DoesNotFit(ValueError):
    """The tables need more memory than the ranks have; the message says how much and what helps."""


def plan(
    tables: Tables,
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
    """Place tables so that the slowest rank takes the least time; nothing is allocated.

    Args:
        tables: `kr.TableConfig`s or `kr.FeatureConfig`s. A feature brings its hotness; a bare table is looked up
            once per row. A `placement` other than "auto" and `frequent_rows` are kept.
        ranks: the number of ranks; None uses the fewest whose memory is enough.
        memory: bytes on each rank for tables, state and exchange, or text such as "80GiB"; None sets no limit.
        batch_size: rows per batch on each rank.
        bandwidth: bytes per second that a rank sends to others and, at the same time, receives.
        memory_bandwidth: bytes per second that a rank reads and writes in its own memory, row by row.
        optimizer: a name or an optimizer, for tables that have none of their own.
        dtype: of tables and optimizer state, "float32" or "float64".
        wire_dtype: of vectors and gradients sent: "float32", "float64", "bfloat16", "float16"; by default `dtype`.
        ranks_per_node: as in the layer. Ranks that exchange by way of nodes exchange no sums; bytes are predicted
            as if they exchanged directly.

    Raises:
        DoesNotFit: a rank would need more than `memory`.
        ValueError: an argument out of range, two different tables with the same name, an unknown optimizer.

    >>> item = kr.TableConfig("item", 10_000_000, 64)
    >>> print(kr.parallel.plan([kr.FeatureConfig("item", item)], ranks=8, memory="16GiB", batch_size=8192))
    """
    if ranks is None and memory is None:
        raise ValueError("ranks and memory are both None; pass at least one of them")
    workloads = table_workloads(tables, optimizer, dtype)
    limit = math.inf if memory is None else parse_bytes(memory)
    rates = (bandwidth, memory_bandwidth)
    step = Step(1 if ranks is None else ranks, batch_size, *rates, wire_dtype or dtype, ranks_per_node, limit)
    if ranks is None:
        step = replace(step, ranks=_fewest_ranks(workloads, step) or 1)
    assignment = search(workloads, step)
    if assignment is None:
        raise _does_not_fit(workloads, step)
    plans = assignment.plans(workloads)
    return Plan(step.ranks, tuple(plans), predict(plans, workloads, step), None if memory is None else int(limit))


def _fewest_ranks(workloads: Workloads, step: Step) -> int | None:
    """Return the fewest ranks whose memory is enough; None if no number is."""
    lowest = max(1, math.ceil(sum(workload.total_bytes for workload in workloads) / step.memory))
    if sum(workload.result_bytes(step.batch_size) for workload in workloads) > step.memory:
        return None
    too_few, ranks = lowest - 1, lowest
    while leanest(workloads, replace(step, ranks=ranks)) is None:
        too_few, ranks = ranks, ranks + max(1, ranks // 4)
        if ranks > 16 * lowest + 16:  # shards are small by now: the buffers are too large
            return None
    while ranks - too_few > 1:
        middle = (too_few + ranks) // 2
        fits = leanest(workloads, replace(step, ranks=middle)) is not None
        too_few, ranks = (too_few, middle) if fits else (middle, ranks)
    return ranks


def _does_not_fit(workloads: Workloads, step: Step) -> DoesNotFit:
    """Return the error that says what is missing even with the plan that needs the least memory."""
    assignment = leanest(workloads, step, enforce=False)
    assert assignment is not None
    plans, shard_bytes = assignment.plans(workloads), [each.shard_bytes for each in assignment.chosen]
    needed, fewest = predict(plans, workloads, step), _fewest_ranks(workloads, step)
    return DoesNotFit(describe_shortfall(plans, shard_bytes, needed, int(step.memory), step.batch_size, fewest))
