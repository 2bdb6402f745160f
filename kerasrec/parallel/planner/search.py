"""Choose a candidate for each table and the ranks that own it, so that the slowest rank is as quick as possible.

The search tries several bounds on the seconds and bytes of a shard. Under a bound each table takes the candidate
that costs all ranks together the least; then tables are assigned to ranks, those with the costliest shards first,
each to the ranks that finish soonest and have the memory. (Assigning the largest first to the least loaded is
Graham's LPT rule, within 4/3 of the best for equal shards.) The best assignment, by its slowest rank, is then
improved: other candidates are tried for the tables that weigh most on that rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from kerasrec.parallel.planner.cost_model import LOCAL, Candidate, Option, estimate, seconds
from kerasrec.parallel.planner.enumerate import memory_saving_options, options
from kerasrec.tables.table_plan import TablePlan
from kerasrec.tables.workload import Step, TableWorkload

_MOVES = 48  # tried to improve the best assignment
_DISCOUNT = {"hybrid": 0.99, "replicated": 0.99}  # replicas answer many lookups without an exchange

Workloads = Sequence[TableWorkload]
Chosen = list[Candidate]  # one per table
Candidates = dict[Hashable, list[Candidate]]  # by the shape of the table


@dataclass(frozen=True)
class Assignment:
    """A candidate for each table and the ranks that own it; a lower rating is better."""

    chosen: Chosen
    owners: list[tuple[int, ...]]
    slowest_rank: int
    rating: tuple[float, float]  # seconds of the slowest rank, then bytes that all ranks send and receive

    def plans(self, workloads: Workloads) -> list[TablePlan]:
        """Return the plan of each table."""
        return [
            TablePlan(workload.table, each.placement, owners, each.frequent_rows, each.exchange)
            for workload, each, owners in zip(workloads, self.chosen, self.owners, strict=True)
        ]


def search(workloads: Workloads, step: Step) -> Assignment | None:
    """Return the best assignment found; None if all need more than `step.memory` on some rank."""
    candidates = _candidates(workloads, step, options)
    best = _best_under_bounds(candidates, workloads, step)
    return _improve(best, candidates, workloads, step) if best else leanest(workloads, step)


def leanest(workloads: Workloads, step: Step, enforce: bool = True) -> Assignment | None:
    """Return the assignment that needs the least memory; None if it exceeds `step.memory`, where enforced."""
    smallest = {}
    for shape, candidates in _candidates(workloads, step, memory_saving_options).items():
        most = max(each.owners for each in candidates)
        packable = [each for each in candidates if each.owners == most or each.shard_bytes < step.memory / 32]
        smallest[shape] = min(packable, key=lambda each: each.mean_bytes)
    chosen = [smallest[workload.shape] for workload in workloads]
    return _assign(chosen, workloads, step if enforce else replace(step, memory=math.inf), by_memory=True)


def _candidates(workloads: Workloads, step: Step, options: Callable[..., list[Option]]) -> Candidates:
    """Estimate the options of each shape of table."""
    distinct = {workload.shape: workload for workload in workloads}
    return {shape: [estimate(each, step, way) for way in options(each, step)] for shape, each in distinct.items()}


def _best_under_bounds(candidates: Candidates, workloads: Workloads, step: Step) -> Assignment | None:
    """Return the best assignment under any of the bounds on a shard's seconds and bytes."""
    fewest_seconds = {shape: min(each.seconds for each in group) for shape, group in candidates.items()}
    total_seconds = sum(fewest_seconds[workload.shape] for workload in workloads)
    assignments = []
    for share in (4.0, *(2 ** (-half / 2) for half in range(15)), 0.0):
        for quarterings in range(8 if math.isfinite(step.memory) else 1):
            bounds = share * total_seconds, step.memory / 4**quarterings
            choice = {shape: _choose(group, *bounds) for shape, group in candidates.items()}
            if assignment := _assign([choice[workload.shape] for workload in workloads], workloads, step):
                assignments.append(assignment)
                break
    return min(assignments, key=lambda assignment: assignment.rating, default=None)


def _choose(candidates: Sequence[Candidate], max_seconds: float, max_bytes: float) -> Candidate:
    """Return the cheapest candidate within both bounds; else the quickest within the bytes; else the smallest."""
    fitting = [each for each in candidates if each.shard_bytes <= max_bytes]
    if quick := [each for each in fitting if each.shard_seconds <= max_seconds]:
        return min(quick, key=lambda each: (each.seconds * _DISCOUNT.get(each.placement, 1), each.shard_seconds))
    if fitting:
        return min(fitting, key=lambda each: (each.shard_seconds, each.seconds))
    return min(candidates, key=lambda each: each.shard_bytes)


def _assign(chosen: Chosen, workloads: Workloads, step: Step, by_memory: bool = False) -> Assignment | None:
    """Assign each table to ranks; None if one then needs more than `step.memory`."""
    load = np.tile(sum((each.every for each in chosen), np.zeros(9)), (step.ranks, 1))
    memory = np.full(step.ranks, sum(each.replica_bytes for each in chosen), np.float64)
    memory += sum(workload.result_bytes(step.batch_size) for workload in workloads)
    owners: list[tuple[int, ...]] = [()] * len(chosen)

    def order(table: int) -> tuple[float, ...]:
        each = chosen[table]
        size = each.shard_bytes if by_memory else each.shard_seconds
        return each.owners < step.ranks, -size, -each.shard_bytes, table

    for turn, table in enumerate(sorted(range(len(chosen)), key=order)):
        each = chosen[table]
        if each.owners == step.ranks:
            load += each.owner
            memory += each.shard_bytes
            owners[table] = _rotated(step.ranks, turn % step.ranks)
        else:
            load_after = load + each.owner
            memory_after = memory + each.shard_bytes + load_after[:, :LOCAL].sum(1)
            preference = memory_after if by_memory else seconds(load_after, step)
            best = np.lexsort((preference, memory_after > step.memory))[: each.owners]
            load[best] = load_after[best]
            memory[best] += each.shard_bytes
            owners[table] = tuple(best.tolist())
    if (memory + load[:, :LOCAL].sum(1)).max() > step.memory:
        return None
    by_rank = seconds(load, step)
    slowest = int(np.argmax(by_rank))
    return Assignment(chosen, owners, slowest, (float(by_rank[slowest]), float(load[:, :LOCAL].sum())))


@lru_cache(maxsize=4096)
def _rotated(ranks: int, first: int) -> tuple[int, ...]:
    return (*range(first, ranks), *range(first))


def _improve(best: Assignment, candidates: Candidates, workloads: Workloads, step: Step) -> Assignment:
    """Try other candidates for the costliest tables on the slowest rank and some or all tables of their shape."""
    tried = set()
    for _ in range(_MOVES):
        on_slowest = [
            (-candidate.shard_seconds, workload.shape, candidate)
            for workload, candidate, owners in zip(workloads, best.chosen, best.owners, strict=True)
            if len(owners) < step.ranks and best.slowest_rank in owners
        ]
        moves = (
            (shape, place, share)
            for _, shape, current in sorted(on_slowest, key=lambda weight: weight[0])
            for place, other in enumerate(candidates[shape])
            if other is not current and other.seconds < 2 * current.seconds
            for share in (1.0, 0.5, 0.25)
        )
        move = next((move for move in moves if move not in tried), None)
        if move is None:
            break
        tried.add(move)
        shape, place, share = move
        same_shape = [table for table, workload in enumerate(workloads) if workload.shape == shape]
        chosen = list(best.chosen)
        for table in same_shape[: max(1, round(share * len(same_shape)))]:
            chosen[table] = candidates[shape][place]
        assignment = _assign(chosen, workloads, step)
        if assignment and assignment.rating < best.rating:
            best = assignment
    return best
