"""List the options of one table: the placements that are worth estimating."""

from __future__ import annotations

from collections.abc import Iterator

from kerasrec.parallel.planner.cost_model import SENT, Option, cost
from kerasrec.tables.workload import Step, TableWorkload

_MIN_COLUMNS = 4  # per column-wise owner: narrower shards cost more ids than they save vectors
_MIN_SHARE = 0.25  # of lookups that hybrid replicas must answer to be worth a message


def options(workload: TableWorkload, step: Step) -> list[Option]:
    """Return the options of a table, or those of its own placement if it has one."""
    return [
        Option(placement, owners, exchange, frequent_rows)
        for placement, owners, frequent_rows in _placements(workload, step)
        for exchange in _exchanges(workload, step, frequent_rows)
    ]


def memory_saving_options(workload: TableWorkload, step: Step) -> list[Option]:
    """Return the options that may need the least memory: row-wise, unless the table has its own placement."""
    if workload.table.placement != "auto":
        return options(workload, step)
    most, exchanges = min(step.ranks, workload.most_owners("row_wise")), _exchanges(workload, step, 0)
    return [
        Option("row_wise" if owners > 1 else "table_wise", owners, exchange)
        for owners in (_doublings(1, most) if "sums" in exchanges else [most])
        for exchange in exchanges
    ]


def frequent_rows(workload: TableWorkload, step: Step) -> int:
    """Return how many rows of a hybrid table get replicas; 0 if replicas save no bytes.

    It is the largest number that saves two thirds of the bytes that the best one saves: nearly as few bytes are
    sent as possible, and more lookups need no exchange.
    """
    rows = workload.table.vocabulary_size
    if step.ranks == 1:
        return 0

    def sent(frequent: int) -> float:
        every, owner = cost(workload, step, Option("hybrid", min(step.ranks, rows), "rows", frequent))
        return float((every + owner)[SENT].sum())

    ends = [min(1 << octave, rows) for octave in range((rows - 1).bit_length() + 1)]
    without, sent_by_end = sent(0), [sent(end) for end in ends]
    enough = without / 3 + min(sent_by_end) * 2 / 3
    if without <= enough:
        return 0
    last = max(place for place, size in enumerate(sent_by_end) if size <= enough)
    low, high = ends[last], ends[min(last + 1, len(ends) - 1)]
    while high - low > max(1, low // 256):
        middle = (low + high) // 2
        low, high = (middle, high) if sent(middle) <= enough else (low, middle)
    return low


def _exchanges(workload: TableWorkload, step: Step, frequent: int) -> tuple[str, ...]:
    """Return the exchanges: sums are of combined lists, without replicas, and sent directly."""
    combined = any(hot != 1 for hot in workload.hotness) and workload.table.combiner is not None
    direct = step.ranks_per_node in (None, step.ranks)
    return ("rows", "sums") if combined and direct and not frequent else ("rows",)


def _placements(workload: TableWorkload, step: Step) -> Iterator[tuple[str, int, int]]:
    """Yield placements, each with its number of owners and of frequent rows."""
    table, placement = workload.table, workload.table.placement
    rows, auto = table.vocabulary_size, placement == "auto"
    if auto or placement == "table_wise":
        yield "table_wise", 1, 0
    if auto and step.ranks == 1:
        return
    if auto or placement == "row_wise":
        yield from (("row_wise", owners, 0) for owners in _doublings(2, min(step.ranks, rows)))
    # RowwiseAdagrad's state belongs to all columns of a row: they are only split on demand.
    if placement == "column_wise" or (auto and not workload.state_per_row):
        most = min(step.ranks, max(1, table.embedding_dim // _MIN_COLUMNS))
        yield from (("column_wise", owners, 0) for owners in _doublings(2, most))
    if auto or placement == "replicated":
        yield "replicated", min(step.ranks, rows), rows
    if auto or placement == "hybrid":
        frequent = frequent_rows(workload, step) if table.frequent_rows is None else table.frequent_rows
        if not auto or (frequent < rows and workload.frequencies.share(frequent) >= _MIN_SHARE):
            yield "hybrid", min(step.ranks, rows), frequent


def _doublings(first: int, last: int) -> list[int]:
    """Return `first`, twice that, and so on, and `last`."""
    numbers = []
    while first < last:
        numbers.append(first)
        first *= 2
    return [*numbers, last]
