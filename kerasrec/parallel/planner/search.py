"""The search for a plan: which candidate each table takes, and which ranks own it.

It tries some bounds on the time and on the memory that one owner's part may take. Under a bound each table takes
the candidate that costs all ranks together least; then tables are placed, those of the costliest parts first, each
on the ranks that are done soonest and have the memory. (Largest first onto the least loaded is Graham's LPT rule,
within 4/3 of the best for parts of one kind.) The best of these, by its worst rank, is improved by giving the
tables that weigh on that rank other candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from kerasrec.parallel.planner import cost_model
from kerasrec.parallel.planner.cost_model import Demand, Step
from kerasrec.parallel.planner.enumerate import Candidate, candidate, candidates, exchanges, powers
from kerasrec.tables.plan import Predicted, TablePlan

_MOVES = 48  # tried to improve the best plan


@dataclass(frozen=True)
class Placed:
    """The candidate and the owners of each table, and how good that is: less is better."""

    chosen: list[Candidate]
    owners: list[tuple[int, ...]]
    worst: int  # the slowest rank
    rating: tuple[float, float]  # its seconds, and the bytes that all send

    def plans(self, demands: Sequence[Demand]) -> list[TablePlan]:
        return [
            TablePlan(demand.table, each.placement, owners, each.frequent, each.exchange)
            for demand, each, owners in zip(demands, self.chosen, self.owners, strict=True)
        ]


def search(demands: Sequence[Demand], step: Step, limit: float) -> tuple[list[TablePlan], Predicted] | None:
    """The best plan found and its figures; None where all need more than `limit` bytes on some rank."""
    shapes = [cost_model.shape_of(demand) for demand in demands]
    known = {shape: candidates(demand, step) for shape, demand in dict(zip(shapes, demands, strict=True)).items()}
    options = [known[shape] for shape in shapes]
    best = _first(options, demands, step, limit)
    best = _improved(best, options, demands, step, limit) if best else leanest(demands, step, limit)
    if best is None:
        return None
    plans = best.plans(demands)
    return plans, cost_model.predict(plans, demands, step)


def _first(
    options: Sequence[list[Candidate]], demands: Sequence[Demand], step: Step, limit: float
) -> Placed | None:
    """The best under some bounds on the time and the memory of a part."""
    known = {id(some): some for some in options}
    cheapest = {key: min(each.total for each in some) for key, some in known.items()}
    least = sum(cheapest[id(some)] for some in options)
    best: Placed | None = None
    for share in (4.0, *(2 ** (-half / 2) for half in range(15)), 0.0):
        part_bytes = limit
        for _ in range(8):
            chosen = {key: _choose(some, share * least, part_bytes) for key, some in known.items()}
            placed = _place(demands, [chosen[id(some)] for some in options], step, limit)
            if placed is not None or not math.isfinite(limit):
                break
            part_bytes /= 4
        best = _better(best, placed)
    return best


def _choose(some: Sequence[Candidate], seconds: float, part_bytes: float) -> Candidate:
    """The cheapest for all ranks together of those whose parts are small enough, else that of smallest parts."""
    small = [each for each in some if each.part_seconds <= seconds and each.part_bytes <= part_bytes]
    if small:
        return _cheapest(small)
    fitting = [each for each in some if each.part_bytes <= part_bytes] or [
        min(some, key=lambda each: each.part_bytes)
    ]
    return min(fitting, key=lambda each: (each.part_seconds, each.total))


def _cheapest(some: Sequence[Candidate]) -> Candidate:
    """Hybrid costs what row-wise does, within a hundredth, and answers many lookups without an exchange."""

    def price(each: Candidate) -> tuple[float, float]:
        return each.total * (0.99 if each.placement in ("hybrid", "replicated") else 1.0), each.part_seconds

    return min(some, key=price)


def _place(
    demands: Sequence[Demand],
    chosen: list[Candidate],
    step: Step,
    limit: float,
    by_memory: bool = False,
) -> Placed | None:
    """Ranks for each table, or None where some rank's memory is exceeded."""
    ranks = step.ranks
    load = np.tile(sum((each.cost.every for each in chosen), np.zeros(9)), (ranks, 1))
    held = np.full(ranks, sum(each.copies for each in chosen), np.float64)
    held += sum(cost_model.result_bytes(demand, step) for demand in demands)
    found: list[tuple[int, ...]] = [()] * len(demands)

    def weight(at: int) -> tuple[Any, ...]:
        each = chosen[at]
        size = each.part_bytes if by_memory else each.part_seconds
        return each.owners < ranks, -size, -each.part_bytes, at

    for turn, at in enumerate(sorted(range(len(demands)), key=weight)):
        each = chosen[at]
        if each.owners == ranks:
            found[at] = _rotated(ranks, turn % ranks)
            load += each.cost.owner
            held += each.part_bytes
        else:
            after = load + each.cost.owner
            needs = held + each.part_bytes + after[:, : cost_model.LOCAL].sum(1)
            order = np.lexsort((needs if by_memory else step.seconds(after), needs > limit))[: each.owners]
            load[order] = after[order]
            held[order] += each.part_bytes
            found[at] = tuple(order.tolist())
    if (held + load[:, : cost_model.LOCAL].sum(1)).max() > limit:
        return None
    seconds = step.seconds(load)
    worst = int(np.argmax(seconds))
    return Placed(chosen, found, worst, (float(seconds[worst]), float(load[:, : cost_model.LOCAL].sum())))


@lru_cache(maxsize=4096)
def _rotated(ranks: int, by: int) -> tuple[int, ...]:
    return (*range(by, ranks), *range(by))


def _better(best: Placed | None, other: Placed | None) -> Placed | None:
    return other if best is None or (other is not None and other.rating < best.rating) else best


def _improved(
    best: Placed, options: Sequence[list[Candidate]], demands: Sequence[Demand], step: Step, limit: float
) -> Placed:
    """Other candidates for all or some of the tables that are like the costliest on the slowest rank."""
    tried: set[tuple[int, int, float]] = set()
    while len(tried) < _MOVES:
        mine = [
            at
            for at, owners in enumerate(best.owners)
            if len(owners) < step.ranks and best.worst in owners and len(options[at]) > 1
        ]
        moves = [
            (id(options[at]), place, share)
            for at in sorted(mine, key=lambda at: (-best.chosen[at].part_seconds, at))
            for place, each in enumerate(options[at])
            if each is not best.chosen[at] and each.total < 2 * best.chosen[at].total
            for share in (1.0, 0.5, 0.25)
        ]
        move = next((move for move in moves if move not in tried), None)
        if move is None:
            break
        tried.add(move)
        some, place, share = move
        alike = [at for at, each in enumerate(options) if id(each) == some]
        changed = list(best.chosen)
        for at in alike[: max(1, round(share * len(alike)))]:
            changed[at] = options[at][place]
        best = _better(best, _place(demands, changed, step, limit)) or best
    return best


def leanest(demands: Sequence[Demand], step: Step, limit: float, hold: bool = True) -> Placed | None:
    """Placements that need least memory, on all ranks together and in parts small enough to be packed.

    None where they do not fit, unless the limit need not hold.
    """

    def need(demand: Demand) -> Candidate:
        def size(each: Candidate) -> float:
            buffers = (each.cost.every + each.cost.owner * each.owners / step.ranks)[: cost_model.LOCAL].sum()
            return each.part_bytes * each.owners / step.ranks + each.copies + buffers

        if demand.table.placement == "auto":
            widest = min(step.ranks, demand.table.vocabulary_size)
            ways = exchanges(demand, step, 0)
            spreads = powers(1, widest) if "sums" in ways else [widest]
            some = [
                candidate(demand, step, "row_wise" if owners > 1 else "table_wise", owners, exchange, 0)
                for owners in spreads
                for exchange in ways
            ]
        else:
            some = candidates(demand, step)
        widest = max(each.owners for each in some)
        return min((each for each in some if each.owners == widest or each.part_bytes < limit / 32), key=size)

    shapes = [cost_model.shape_of(demand) for demand in demands]
    known = {shape: need(demand) for shape, demand in dict(zip(shapes, demands, strict=True)).items()}
    return _place(demands, [known[shape] for shape in shapes], step, limit if hold else math.inf, by_memory=True)
