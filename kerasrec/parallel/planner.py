"""The search for where tables live: enumerate placements, estimate what they cost, choose, and place.

Every table has a few candidates: a placement, how many ranks own it, what is exchanged. The search tries some
bounds on the time and on the memory that one owner's part may take. Under a bound each table takes the candidate
that costs all ranks together least; then tables are placed, those of the costliest parts first, each on the ranks
that are done soonest and have the memory. The best of these plans, by its worst rank, is the plan. (Largest first
onto the least loaded is Graham's LPT rule, within 4/3 of the best for parts of one kind.)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from kerasrec.parallel import costs
from kerasrec.parallel.costs import Demand, Step
from kerasrec.parallel.layout import Plan, Predicted, TablePlan, distinct_tables
from kerasrec.parallel.plan_text import in_bytes
from kerasrec.parallel.tables import FeatureConfig, TableConfig

_MIN_COLUMNS = 4  # of a column-wise part: narrower ones cost more ids than they save vectors
_MIN_SERVED = 0.25  # the share of lookups that a hybrid table's copies answer: for less it is not worth a message
_MOVES = 48  # that the search tries after its best plan


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
    wire: str = "float32",
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
        wire: the dtype that vectors and gradients travel in: "float32", "float64", "bfloat16" or "float16".

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
    if wire not in costs.WIRE_BYTES:
        raise ValueError(f"wire must be one of {sorted(costs.WIRE_BYTES)}, not {wire!r}")
    limit = math.inf if memory is None else parse_bytes(memory)
    demands = demands_of(tables, optimizer)
    if not demands:
        raise ValueError("a plan needs at least one table")

    def step(ranks: int) -> Step:
        return Step(ranks, batch_size, bandwidth, memory_bandwidth, wire)

    if ranks is None:
        ranks = _smallest(demands, step, limit)
        if ranks is None:
            raise _does_not_fit(demands, step, 1, limit)
    planned = _search(demands, step(ranks), limit)
    if planned is None:
        raise _does_not_fit(demands, step, ranks, limit)
    plans, predicted = planned
    return Plan(ranks, tuple(plans), predicted, None if memory is None else int(limit))


def parse_bytes(memory: int | str) -> int:
    """A number of bytes from itself or a text: "80GiB", "80 GB", "512MiB".

    Raises `ValueError` for anything else.
    """
    if isinstance(memory, str):
        found = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?)(i?)B?\s*", memory, re.IGNORECASE)
        try:
            number = float(found[1]) if found else -1.0
        except ValueError:
            number = -1.0
        if found is not None and number > 0:
            return int(number * (1024 if found[3] else 1000) ** " KMGT".index(found[2].upper() or " "))
    elif memory > 0:
        return int(memory)
    raise ValueError(f"memory must be a number of bytes above 0, or a text such as '80GiB', not {memory!r}")


def demands_of(
    tables: Mapping[str, TableConfig | FeatureConfig] | Iterable[TableConfig | FeatureConfig], optimizer: Any
) -> list[Demand]:
    """The tables with their features' hotness and what their optimizers keep."""
    state = costs.optimizer_state(optimizer)
    return [
        Demand(table, hotness, *(state if table.optimizer is None else costs.optimizer_state(table.optimizer)))
        for table, hotness in distinct_tables(tables)
    ]


# ---- enumerate -------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Candidate:
    """One way to place a table, and its cost. `part` is one owner's, `copies` every rank's bytes."""

    placement: str
    owners: int
    exchange: str
    frequent: int
    cost: costs.Cost
    total: float  # seconds, the mean over ranks if all were loaded alike
    part_seconds: float
    part_bytes: int
    copies: int


def candidates(demand: Demand, step: Step) -> list[Candidate]:
    """Every placement of a table that is worth a thought, or its own where it has one."""
    return [
        _candidate(demand, step, placement, owners, exchange, frequent)
        for placement, owners, frequent in _placements(demand, step)
        for exchange in _exchanges(demand, frequent)
    ]


def _exchanges(demand: Demand, frequent: int) -> tuple[str, ...]:
    """Sums are of lists; and of what an owner holds, so not beside copies."""
    lists = any(hot != 1 for hot in demand.hotness) and demand.table.combiner is not None
    return ("rows", "sums") if lists and not frequent else ("rows",)


def _placements(demand: Demand, step: Step) -> Iterator[tuple[str, int, int]]:
    """Placement, number of owners, number of frequent rows."""
    table, wanted = demand.table, demand.table.placement
    rows, ranks = table.vocabulary_size, step.ranks
    if wanted in ("auto", "table_wise"):
        yield "table_wise", 1, 0
    if wanted == "auto" and ranks == 1:
        return
    if wanted in ("auto", "row_wise"):
        for owners in _powers(2, min(ranks, rows)):
            yield "row_wise", owners, 0
    # The one number that RowwiseAdagrad keeps for a row is of all its columns: only on demand are these parted.
    if wanted == "column_wise" or (wanted == "auto" and not demand.state_per_row):
        for owners in _powers(2, min(ranks, max(1, table.embedding_dim // _MIN_COLUMNS))):
            yield "column_wise", owners, 0
    if wanted in ("auto", "replicated"):
        yield "replicated", min(ranks, rows), rows
    if wanted in ("auto", "hybrid"):
        frequent = costs.frequent_rows(demand, step) if table.frequent_rows is None else table.frequent_rows
        if wanted == "hybrid" or (frequent < rows and demand.frequencies.share(frequent) >= _MIN_SERVED):
            yield "hybrid", min(ranks, rows), frequent


def _powers(first: int, last: int) -> list[int]:
    """`first`, twice that and so on, and `last` itself."""
    powers = []
    while first < last:
        powers.append(first)
        first *= 2
    return [*powers, last]


def _candidate(demand: Demand, step: Step, placement: str, owners: int, exchange: str, frequent: int) -> Candidate:
    cost = costs.cost(demand, step, placement, owners, exchange, frequent)
    first = TablePlan(demand.table, placement, tuple(range(owners)), frequent, exchange)
    weights, state = costs.owned_bytes(first, demand)
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
        costs.copied_bytes(demand, step, frequent),
    )


# ---- choose and place ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Placed:
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


def _search(demands: Sequence[Demand], step: Step, limit: float) -> tuple[list[TablePlan], Predicted] | None:
    shapes = [costs.shape_of(demand) for demand in demands]
    known = {shape: candidates(demand, step) for shape, demand in dict(zip(shapes, demands, strict=True)).items()}
    options = [known[shape] for shape in shapes]
    best = _first(options, demands, step, limit)
    best = _improved(best, options, demands, step, limit) if best else _leanest(demands, step, limit)
    if best is None:
        return None
    plans = best.plans(demands)
    return plans, costs.predict(plans, demands, step)


def _first(
    options: Sequence[list[Candidate]], demands: Sequence[Demand], step: Step, limit: float
) -> _Placed | None:
    """The best under some bounds on the time and the memory of a part."""
    known = {id(some): some for some in options}
    cheapest = {key: min(each.total for each in some) for key, some in known.items()}
    least = sum(cheapest[id(some)] for some in options)
    best: _Placed | None = None
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
) -> _Placed | None:
    """Ranks for each table, or None where some rank's memory is exceeded."""
    ranks = step.ranks
    load = np.tile(sum((each.cost.every for each in chosen), np.zeros(9)), (ranks, 1))
    held = np.full(ranks, sum(each.copies for each in chosen), np.float64)
    held += sum(costs.result_bytes(demand, step) for demand in demands)
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
            needs = held + each.part_bytes + after[:, : costs.LOCAL].sum(1)
            order = np.lexsort((needs if by_memory else step.seconds(after), needs > limit))[: each.owners]
            load[order] = after[order]
            held[order] += each.part_bytes
            found[at] = tuple(order.tolist())
    if (held + load[:, : costs.LOCAL].sum(1)).max() > limit:
        return None
    seconds = step.seconds(load)
    worst = int(np.argmax(seconds))
    return _Placed(chosen, found, worst, (float(seconds[worst]), float(load[:, : costs.LOCAL].sum())))


@lru_cache(maxsize=4096)
def _rotated(ranks: int, by: int) -> tuple[int, ...]:
    return (*range(by, ranks), *range(by))


def _better(best: _Placed | None, other: _Placed | None) -> _Placed | None:
    return other if best is None or (other is not None and other.rating < best.rating) else best


def _improved(
    best: _Placed, options: Sequence[list[Candidate]], demands: Sequence[Demand], step: Step, limit: float
) -> _Placed:
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


# ---- does it fit -----------------------------------------------------------------------------------------------
def _leanest(demands: Sequence[Demand], step: Step, limit: float, hold: bool = True) -> _Placed | None:
    """Placements that need least memory, on all ranks together and in parts small enough to be packed.

    None where they do not fit, unless the limit need not hold.
    """

    def need(demand: Demand) -> Candidate:
        def size(each: Candidate) -> float:
            buffers = (each.cost.every + each.cost.owner * each.owners / step.ranks)[: costs.LOCAL].sum()
            return each.part_bytes * each.owners / step.ranks + each.copies + buffers

        if demand.table.placement == "auto":
            widest = min(step.ranks, demand.table.vocabulary_size)
            exchanges = _exchanges(demand, 0)
            spreads = _powers(1, widest) if "sums" in exchanges else [widest]
            some = [
                _candidate(demand, step, "row_wise" if owners > 1 else "table_wise", owners, exchange, 0)
                for owners in spreads
                for exchange in exchanges
            ]
        else:
            some = candidates(demand, step)
        widest = max(each.owners for each in some)
        return min((each for each in some if each.owners == widest or each.part_bytes < limit / 32), key=size)

    shapes = [costs.shape_of(demand) for demand in demands]
    known = {shape: need(demand) for shape, demand in dict(zip(shapes, demands, strict=True)).items()}
    return _place(demands, [known[shape] for shape in shapes], step, limit if hold else math.inf, by_memory=True)


def _smallest(demands: Sequence[Demand], step: Callable[[int], Step], limit: float) -> int | None:
    """The fewest ranks whose memory suffices; None where no number does."""
    tables = [(demand, demand.table.vocabulary_size, demand.table.embedding_dim) for demand in demands]
    held = sum(rows * sum(demand.row_bytes(width)) for demand, rows, width in tables)
    lowest = max(1, math.ceil(held / limit))
    if sum(costs.result_bytes(demand, step(lowest)) for demand in demands) > limit:
        return None
    failed, ranks = lowest - 1, lowest
    while _leanest(demands, step(ranks), limit) is None:
        failed, ranks = ranks, ranks + max(1, ranks // 4)
        if ranks > 16 * lowest + 16:  # tables and state are then a sixteenth: it is the buffers that are too large
            return None
    while ranks - failed > 1:
        middle = (failed + ranks) // 2
        fits = _leanest(demands, step(middle), limit) is not None
        failed, ranks = (failed, middle) if fits else (middle, ranks)
    return ranks


def _does_not_fit(demands: Sequence[Demand], step: Callable[[int], Step], ranks: int, limit: float) -> DoesNotFit:
    placed = _leanest(demands, step(ranks), limit, hold=False)
    assert placed is not None
    needed = costs.predict(placed.plans(demands), demands, step(ranks))
    worst = int(np.argmax(needed.memory))
    tables, state, buffers = needed.table_bytes[worst], needed.state_bytes[worst], needed.buffer_bytes[worst]
    need, total = tables + state + buffers, sum(needed.memory)
    enough = _smallest(demands, step, limit)
    advice = []
    large = max(range(len(demands)), key=lambda at: placed.chosen[at].part_bytes)
    if placed.chosen[large].part_bytes > limit and demands[large].table.placement != "auto":
        part, table = in_bytes(placed.chosen[large].part_bytes), demands[large].table
        advice.append(f"placement 'auto' for table {table.name!r}, which needs {part} {table.placement}")
    if enough is not None and enough > ranks:
        advice.append(f"at least {enough} ranks of this memory")
    if state > 0.1 * tables:
        advice.append("an optimizer that keeps less, such as RowwiseAdagrad (one number a row)")
    if buffers > 0.2 * limit:
        advice.append(f"a smaller batch than {step(ranks).batch_size:,} rows a rank")
    advice.append("more memory a rank, narrower or smaller tables")
    return DoesNotFit(
        f"{len(demands):,} tables do not fit {ranks:,} x {in_bytes(limit)}: the fullest rank, {worst}, needs "
        f"{in_bytes(need)} (tables {in_bytes(tables)}, optimizer state {in_bytes(state)}, buffers "
        f"{in_bytes(buffers)}), {in_bytes(need - limit)} over its limit; all ranks together have "
        f"{in_bytes(limit * ranks)} and need {in_bytes(total)}. What helps: {'; '.join(advice)}"
    )
