"""Estimate what a placement costs each rank: bytes of memory, and the bytes and seconds of a training step.

A step has four phases, one after another: ids go to the owners of their rows, vectors come back, gradients go to
the owners, and frequent rows that changed go to every rank, which has replicas of them. If k of S ranks own equal
shards of a table and a rank's batch has U distinct ids, a rank asks others for U (S - 1) / S rows and an owner is
asked for U (S - 1) / k. Frequent rows need no ids and no vectors, only gradients and changed rows; one bit per
frequent row says which rows a message contains. Where owners answer with sums, every id is sent, not only distinct
ones, and an owner returns one vector per list: a list gets at most as many as it has ids or owners.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kerasrec.tables.byte_sizes import WIRE_BYTES
from kerasrec.tables.table_plan import Predicted, TablePlan
from kerasrec.tables.workload import Step, TableWorkload

COUNT_BYTES = 4  # ahead of each message a rank sends every rank the message's length

# A load: bytes that a rank sends and receives in each phase, and bytes of its own memory that it reads and writes.
IDS_OUT, IDS_IN, VECTORS_OUT, VECTORS_IN, GRADIENTS_OUT, GRADIENTS_IN, CHANGED_OUT, CHANGED_IN, LOCAL = range(9)
SENT = [IDS_OUT, VECTORS_OUT, GRADIENTS_OUT, CHANGED_OUT]
RECEIVED = [IDS_IN, VECTORS_IN, GRADIENTS_IN, CHANGED_IN]

Load = NDArray[np.float64]  # (..., 9)


def seconds(load: Load, step: Step) -> Load:
    """Return how long ranks take: phases run one after another, sending and receiving at the same time."""
    phases = np.maximum(load[..., SENT], load[..., RECEIVED]).sum(-1)
    return phases / step.bandwidth + load[..., LOCAL] / step.memory_bandwidth


class Option(NamedTuple):
    """A way to place a table: over how many owners, and how many rows have replicas on every rank."""

    placement: str
    owners: int
    exchange: str = "rows"
    frequent_rows: int = 0


@dataclass(frozen=True, eq=False)
class Candidate:
    """An option for a table, and what it costs in a step."""

    placement: str
    owners: int
    exchange: str
    frequent_rows: int
    every: Load  # on every rank
    owner: Load  # on each owner, on top of that
    seconds: float  # the mean over ranks
    shard_seconds: float  # for one owner's shard
    shard_bytes: int  # weights and optimizer state of the largest shard
    replica_bytes: int  # on every rank
    mean_bytes: float  # of shards, replicas and buffers, over ranks


def cost(workload: TableWorkload, step: Step, option: Option) -> tuple[Load, Load]:
    """Return the load of a table in a step: on every rank, and what is added to it on each owner."""
    frequent, columns = option.frequent_rows, option.placement == "column_wise"
    others, share = step.ranks - 1, 1.0 / option.owners
    width, distinct_rows = workload.table.embedding_dim, workload.frequencies.distinct
    vector, (row, row_state) = width * WIRE_BYTES[step.wire_dtype], workload.row_bytes(width)
    lookups = step.batch_size * sum(workload.hotness)
    replicated, all_replicated = (distinct_rows(lookups * ranks, frequent) for ranks in (1, step.ranks))
    if option.exchange == "sums":
        parts = 1 if columns else option.owners
        requests = reads = lookups  # an owner reads a row for each lookup, not once
        expanded = vectors = step.batch_size * sum(min(parts, hot) for hot in workload.hotness)
    else:
        requests = reads = vectors = distinct_rows(lookups) - replicated
        expanded = lookups

    # An owner's own lookups are not sent: what it sends like every rank is less by its share.
    every, owner = np.zeros(9), np.zeros(9)
    ids = requests * workload.id_bytes
    every[IDS_OUT] = ids * (option.owners if columns else 1)
    owner[IDS_OUT] = -ids * (1 if columns else share)
    owner[IDS_IN] = others * ids * (1 if columns else share)
    every[[VECTORS_IN, GRADIENTS_OUT]] = vectors * vector
    owner[[VECTORS_IN, GRADIENTS_OUT]] = -vectors * vector * share
    owner[[VECTORS_OUT, GRADIENTS_IN]] = others * vectors * vector * share
    if frequent:
        size = np.array([replicated * vector, all_replicated * row]) + frequent / 8
        every[[GRADIENTS_OUT, CHANGED_IN]] += size
        owner[[GRADIENTS_OUT, CHANGED_IN]] -= size * share
        owner[[GRADIENTS_IN, CHANGED_OUT]] += others * size * share

    # Forward and backward: vectors are spread over the batch; owners read rows, add up gradients, update rows.
    every[LOCAL] = 2 * expanded * row + all_replicated * row
    owner[LOCAL] = step.ranks * (2 * reads + replicated) * row * share
    owner[LOCAL] += distinct_rows(lookups * step.ranks) * 2 * (row + row_state) * share
    if step.ranks == 1:
        every[:LOCAL] = owner[:LOCAL] = 0.0
    return every, owner


def estimate(workload: TableWorkload, step: Step, option: Option) -> Candidate:
    """Return what one table costs if it is placed by `option`."""
    every, owner = cost(workload, step, option)
    mean = every + owner * option.owners / step.ranks
    mean_seconds, shard_seconds = float(seconds(mean, step)), float(seconds(np.maximum(owner, 0), step))
    weights, state = workload.owned_bytes(option.placement, option.owners)
    shard_bytes = int((weights + state).max())
    replica_bytes = workload.replica_bytes(option.frequent_rows) if step.ranks > 1 else 0
    mean_bytes = float(shard_bytes * option.owners / step.ranks + replica_bytes + mean[:LOCAL].sum())
    return Candidate(*option, every, owner, mean_seconds, shard_seconds, shard_bytes, replica_bytes, mean_bytes)


def predict(plans: Sequence[TablePlan], workloads: Sequence[TableWorkload], step: Step) -> Predicted:
    """Return what the plans of all tables cost each rank."""
    load = np.zeros((step.ranks, 9))
    tables, state, results = (np.zeros(step.ranks, np.int64) for _ in range(3))
    for plan, workload in zip(plans, workloads, strict=True):
        used = min(len(plan.ranks), workload.most_owners(plan.placement))  # ranks past the last row own nothing
        option = Option(plan.placement, used, plan.exchange, plan.frequent_rows)
        every, owner = cost(workload, step, option)
        owners = np.array(plan.ranks)
        load += every
        load[owners[:used]] += owner
        for total, owned in zip((tables, state), workload.owned_bytes(plan.placement, len(owners)), strict=True):
            total[owners] += owned
        tables += workload.replica_bytes(plan.frequent_rows) if step.ranks > 1 else 0
        results += workload.result_bytes(step.batch_size)
    counts = 3 * COUNT_BYTES * step.ranks if step.ranks > 1 else 0
    buffers = results + load[:, :LOCAL].sum(1).astype(np.int64)
    sent, received = load[:, SENT].sum(1) + counts, load[:, RECEIVED].sum(1) + counts
    figures = (tables, state, buffers, sent, received, seconds(load, step))
    return Predicted(*(tuple(figure.tolist()) for figure in figures))
