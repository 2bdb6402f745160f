"""The ways to place one table that are worth a thought, each with what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kerasrec.parallel.planner import cost_model
from kerasrec.parallel.planner.cost_model import Demand, Step
from kerasrec.tables.plan import TablePlan

_MIN_COLUMNS = 4  # of a column-wise part: narrower ones cost more ids than they save vectors
_MIN_SERVED = 0.25  # the share of lookups that a hybrid table's copies answer: for less it is not worth a message


@dataclass(frozen=True, eq=False)
class Candidate:
    """One way to place a table, and its cost. `part` is one owner's, `copies` every rank's bytes."""

    placement: str
    owners: int
    exchange: str
    frequent: int
    cost: cost_model.Cost
    total: float  # seconds, the mean over ranks if all were loaded alike
    part_seconds: float
    part_bytes: int
    copies: int


def candidates(demand: Demand, step: Step) -> list[Candidate]:
    """Every placement of a table that is worth a thought, or its own where it has one."""
    return [
        candidate(demand, step, placement, owners, exchange, frequent)
        for placement, owners, frequent in _placements(demand, step)
        for exchange in exchanges(demand, step, frequent)
    ]


def exchanges(demand: Demand, step: Step, frequent: int) -> tuple[str, ...]:
    """Sums are of lists; and of what an owner holds, so not beside copies."""
    lists = any(hot != 1 for hot in demand.hotness) and demand.table.combiner is not None
    return ("rows", "sums") if lists and step.sums and not frequent else ("rows",)


def _placements(demand: Demand, step: Step) -> Iterator[tuple[str, int, int]]:
    """Placement, number of owners, number of frequent rows."""
    table, wanted = demand.table, demand.table.placement
    rows, ranks = table.vocabulary_size, step.ranks
    if wanted in ("auto", "table_wise"):
        yield "table_wise", 1, 0
    if wanted == "auto" and ranks == 1:
        return
    if wanted in ("auto", "row_wise"):
        for owners in powers(2, min(ranks, rows)):
            yield "row_wise", owners, 0
    # The one number that RowwiseAdagrad keeps for a row is of all its columns: only on demand are these parted.
    if wanted == "column_wise" or (wanted == "auto" and not demand.state_per_row):
        for owners in powers(2, min(ranks, max(1, table.embedding_dim // _MIN_COLUMNS))):
            yield "column_wise", owners, 0
    if wanted in ("auto", "replicated"):
        yield "replicated", min(ranks, rows), rows
    if wanted in ("auto", "hybrid"):
        frequent = cost_model.frequent_rows(demand, step) if table.frequent_rows is None else table.frequent_rows
        if wanted == "hybrid" or (frequent < rows and demand.frequencies.share(frequent) >= _MIN_SERVED):
            yield "hybrid", min(ranks, rows), frequent


def powers(first: int, last: int) -> list[int]:
    """`first`, twice that and so on, and `last` itself."""
    powers = []
    while first < last:
        powers.append(first)
        first *= 2
    return [*powers, last]


def candidate(demand: Demand, step: Step, placement: str, owners: int, exchange: str, frequent: int) -> Candidate:
    cost = cost_model.cost(demand, step, placement, owners, exchange, frequent)
    first = TablePlan(demand.table, placement, tuple(range(owners)), frequent, exchange)
    weights, state = cost_model.owned_bytes(first, demand)
    mean = cost.every + cost.owner * owners / step.ranks
    return Candidate(
        placement,
        owners,
        exchange,
        frequent,
        cost,
        float(step.seconds(mean)),
        float(step.seconds(np.maximum(cost.owner, 0))),
        int((weights + state).max()),
        cost_model.copied_bytes(demand, step, frequent),
    )
