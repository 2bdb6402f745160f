"""What a table's placement costs each rank: memory, and the bytes and time of one training step.

A step goes through phases one after another: ids to their owners, vectors back, gradients to the owners, and
changed rows to the ranks that hold copies. With S ranks, of which k own the table evenly, and U distinct ids in a
rank's batch, U (S - 1) / S of them are owned elsewhere; an owner is asked for U (S - 1) / k. Frequent rows, of
which all ranks hold copies, need no ids and no vectors: their gradients go home, and rows that any rank's batch
changed go to all ranks; which rows these are is told by one bit for each frequent row. Where sums are exchanged,
all ids travel, not distinct ones, and each owner answers a list with one vector, so a list gets as many as it has
ids or owners, at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasrec.tables.access_frequency import Frequencies, power_law_head
from kerasrec.tables.byte_sizes import WIRE_BYTES, bytes_for
from kerasrec.tables.config import TableConfig
from kerasrec.tables.plan import Predicted, TablePlan

COUNT_BYTES = 4  # before each message a rank says how much it is, to every rank

# What a rank sends and receives in each phase, and the bytes of its own memory that a step reads and writes.
IDS_OUT, IDS_IN, VECTORS_OUT, VECTORS_IN, GRADIENTS_OUT, GRADIENTS_IN, CHANGED_OUT, CHANGED_IN, LOCAL = range(9)
_SENT = [IDS_OUT, VECTORS_OUT, GRADIENTS_OUT, CHANGED_OUT]
_RECEIVED = [IDS_IN, VECTORS_IN, GRADIENTS_IN, CHANGED_IN]

Load = NDArray[np.float64]  # (..., 9), in the order above


@dataclass(frozen=True)
class Step:
    """A training step: how many ranks take it, the rows of a batch on each, and what moves how fast.

    `bandwidth` is what a rank sends to others in a second, and receives at the same time; `memory_bandwidth` what
    it reads and writes of its own memory; in bytes. `wire_dtype` is that of vectors and gradients sent;
    where ranks exchange by way of their nodes there are no `sums`.
    """

    ranks: int
    batch_size: int
    bandwidth: float
    memory_bandwidth: float
    wire_dtype: str
    sums: bool = True

    def seconds(self, load: Load) -> Load:
        """How long a rank takes; phases wait for each other, sending and receiving do not."""
        phases = np.maximum(load[..., _SENT], load[..., _RECEIVED]).sum(-1)
        return phases / self.bandwidth + load[..., LOCAL] / self.memory_bandwidth


@dataclass(frozen=True)
class Demand:
    """One table and what a rank's batch asks of it."""

    table: TableConfig
    hotness: tuple[float, ...]  # of each feature that looks it up
    state_per_weight: int  # numbers that the optimizer keeps for each weight
    state_per_row: int
    weight_bytes: int = 4

    @property
    def frequencies(self) -> Frequencies:
        rows = self.table.vocabulary_size
        return Frequencies(rows, self.table.head or power_law_head(rows))

    @property
    def id_bytes(self) -> int:
        """The fewest bytes that hold any of the table's ids."""
        return bytes_for(self.table.vocabulary_size - 1)

    def row_bytes(self, columns: int) -> tuple[int, int]:
        """Of a row's first so many columns: the weights, and the optimizer's state for them."""
        state = columns * self.state_per_weight + self.state_per_row
        return columns * self.weight_bytes, state * self.weight_bytes


@dataclass(frozen=True)
class Cost:
    """A placement's load in a step: of `every` rank, and on top of it of each `owner`."""

    every: Load
    owner: Load


def cost(demand: Demand, step: Step, placement: str, owners: int, exchange: str, frequent: int) -> Cost:
    """The cost of one table under one placement by `owners` ranks; see the head of this file."""
    table, others, share = demand.table, step.ranks - 1, 1.0 / owners
    vector, weights = (table.embedding_dim * size for size in (WIRE_BYTES[step.wire_dtype], demand.weight_bytes))
    lookups = step.batch_size * sum(demand.hotness)
    drawn = demand.frequencies
    distinct, copied = drawn.distinct(lookups), drawn.distinct(lookups, frequent)
    all_distinct, all_copied = (
        drawn.distinct(lookups * step.ranks),
        drawn.distinct(lookups * step.ranks, frequent),
    )
    column_wise = placement == "column_wise"

    if exchange == "sums":
        parts = 1 if column_wise else owners
        asked, vectors = lookups, step.batch_size * sum(min(parts, hot) for hot in demand.hotness)
        read = lookups  # an owner reads a row for each lookup, not once
    else:
        asked = vectors = read = distinct - copied
    ids = asked * demand.id_bytes
    every, owner = np.zeros(9), np.zeros(9)

    # An owner's own lookups do not travel: what it sends as one of all ranks is less by its share.
    every[IDS_OUT] = ids * (owners if column_wise else 1)
    owner[IDS_OUT] = -ids * (1 if column_wise else share)
    owner[IDS_IN] = others * ids * (1 if column_wise else share)
    every[[VECTORS_IN, GRADIENTS_OUT]] = vectors * vector
    owner[[VECTORS_IN, GRADIENTS_OUT]] = -vectors * vector * share
    owner[[VECTORS_OUT, GRADIENTS_IN]] = others * vectors * vector * share
    if frequent:
        home = copied * vector + frequent / 8
        every[GRADIENTS_OUT] += home
        owner[GRADIENTS_OUT] -= home * share
        owner[GRADIENTS_IN] += others * home * share
        changed = all_copied * weights + frequent / 8  # copies are exact, whatever the wire
        every[CHANGED_IN] = changed
        owner[CHANGED_IN] = -changed * share
        owner[CHANGED_OUT] = others * changed * share

    # Forward and backward: vectors spread over the batch; an owner's rows read and their gradients summed.
    expanded = vectors if exchange == "sums" else lookups
    every[LOCAL] = 2 * expanded * weights + all_copied * weights
    state = demand.row_bytes(table.embedding_dim)[1]
    owner[LOCAL] = step.ranks * (2 * read + copied) * weights * share
    owner[LOCAL] += all_distinct * 2 * (weights + state) * share
    if step.ranks == 1:
        every[:LOCAL] = owner[:LOCAL] = 0.0
    return Cost(every, owner)


def frequent_rows(demand: Demand, step: Step) -> int:
    """How many rows of a hybrid table are copied: the most that keep two thirds of what the best number saves.

    So bytes are fewer than without copies, and nearly as few as they can be, while more lookups need no exchange.
    0 where copies save no bytes.
    """
    rows = demand.table.vocabulary_size
    if step.ranks == 1:
        return 0

    def sent(frequent: int) -> float:
        parts = cost(demand, step, "hybrid", min(step.ranks, rows), "rows", frequent)
        return float((parts.every + parts.owner)[_SENT].sum())

    ends = [min(1 << octave, rows) for octave in range((rows - 1).bit_length() + 1)]
    without, by_end = sent(0), [sent(end) for end in ends]
    enough = without / 3 + min(by_end) * 2 / 3
    if without <= enough:
        return 0
    last = max(at for at, each in enumerate(by_end) if each <= enough)
    low, high = ends[last], ends[min(last + 1, len(ends) - 1)]
    while high - low > max(1, low // 256):
        middle = (low + high) // 2
        low, high = (middle, high) if sent(middle) <= enough else (low, middle)
    return low


def copied_bytes(demand: Demand, step: Step, frequent: int) -> int:
    """The copies of frequent rows that a rank holds of them."""
    return frequent * demand.row_bytes(demand.table.embedding_dim)[0] if step.ranks > 1 else 0


def owned_bytes(plan: TablePlan, demand: Demand) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The bytes of weights and of state that each of `plan.ranks` owns."""
    rows, width, owners = plan.table.vocabulary_size, plan.table.embedding_dim, len(plan.ranks)
    place = np.arange(owners)
    if plan.placement == "column_wise":
        columns = width * (place + 1) // owners - width * place // owners
        held = np.full(owners, rows)
    else:
        columns = np.full(owners, width)
        held = (rows - place + owners - 1) // owners
    state = columns * demand.state_per_weight + demand.state_per_row
    return held * columns * demand.weight_bytes, held * state * demand.weight_bytes


def result_bytes(demand: Demand, step: Step) -> int:
    """What a rank's lookups result in: a vector of each feature for each row of the batch, and its gradient."""
    table = demand.table
    vectors = sum(hot if table.combiner is None else 1.0 for hot in demand.hotness)
    return int(2 * step.batch_size * vectors * table.embedding_dim * demand.weight_bytes)


def most_owners(table: TableConfig, placement: str) -> int:
    """How many ranks a table can be spread over."""
    return {"table_wise": 1, "column_wise": table.embedding_dim}.get(placement, table.vocabulary_size)


def predict(plans: Sequence[TablePlan], demands: Sequence[Demand], step: Step) -> Predicted:
    """What these tables, placed so, cost each rank."""
    load = np.zeros((step.ranks, 9))
    tables, state, results = (np.zeros(step.ranks, np.int64) for _ in range(3))
    known: dict[Any, Cost] = {}
    for plan, demand in zip(plans, demands, strict=True):
        holders = min(
            len(plan.ranks), most_owners(plan.table, plan.placement)
        )  # ranks beyond the last row hold nothing
        kind = (*shape_of(demand), plan.placement, holders, plan.exchange, plan.frequent_rows)
        if kind not in known:
            known[kind] = cost(demand, step, *kind[-4:])
        owners = np.array(plan.ranks)
        load += known[kind].every
        load[owners[:holders]] += known[kind].owner
        weights, kept = owned_bytes(plan, demand)
        tables[owners] += weights
        state[owners] += kept
        tables += copied_bytes(demand, step, plan.frequent_rows)
        results += result_bytes(demand, step)
    counts = 3 * COUNT_BYTES * step.ranks if step.ranks > 1 else 0
    sent, received = load[:, _SENT].sum(1) + counts, load[:, _RECEIVED].sum(1) + counts
    return Predicted(
        tuple(tables.tolist()),
        tuple(state.tolist()),
        tuple((results + load[:, :LOCAL].sum(1).astype(np.int64)).tolist()),
        tuple(sent.tolist()),
        tuple(received.tolist()),
        tuple(step.seconds(load).tolist()),
    )


def shape_of(demand: Demand) -> tuple[Any, ...]:
    """All that a table's costs depend on: tables alike in it are planned alike."""
    table = demand.table
    sizes = (table.vocabulary_size, table.embedding_dim, table.combiner is None, table.head, table.frequent_rows)
    kept = (demand.state_per_weight, demand.state_per_row, demand.weight_bytes)
    return (*sizes, table.placement, demand.hotness, *kept)


def optimizer_state(optimizer: Any) -> tuple[int, int]:
    """The numbers that an optimizer keeps for each weight of a table, and for each row.

    Args:
        optimizer: a name, such as "adagrad" or "RowwiseAdagrad", an optimizer, or its serialised form.

    Raises:
        ValueError: an optimizer whose state is not known.
    """
    name, options = _named(optimizer)
    plain = name.replace("_", "").lower()
    if plain == "rowwiseadagrad":
        return 0, 1
    if plain == "sgd":
        return (1 if options.get("momentum") else 0), 0
    kept = {"adagrad": 1, "adam": 2, "adamw": 2, "ftrl": 2}.get(plain)
    if kept is None:
        raise ValueError(
            f"the state that optimizer {name!r} keeps is not known; it must be one of SGD, Adagrad, "
            "RowwiseAdagrad, Adam, AdamW and Ftrl"
        )
    return kept + bool(options.get("amsgrad")), 0


def _named(optimizer: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(optimizer, str):
        return optimizer, {}
    if isinstance(optimizer, dict):
        name, options = optimizer["class_name"], optimizer["config"]
    else:
        name, options = type(optimizer).__name__, optimizer.get_config()
    name = name.rpartition(">")[2]
    if name == "LossScaleOptimizer":
        return _named(options["inner_optimizer"])
    if name == "Multi":
        return _named(options["optimizers"]["tables"])
    if name == "LossScaleOptimizer":
        return _named(options["inner_optimizer"])
    return name, options
