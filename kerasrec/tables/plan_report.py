"""Text about a plan: what each rank stores and does, where tables are, and what is missing if they do not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from kerasrec.tables.byte_sizes import format_bytes, largest_unit, three_digits
from kerasrec.tables.table_plan import Predicted, TablePlan

_MAX_RANKS = 16  # with a line of their own
_MAX_TABLES = 40  # with a line of their own


def summary(ranks: int, tables: Sequence[TablePlan], predicted: Predicted | None) -> str:
    """Return a plan in one line.

    >>> repr(kr.parallel.plan([kr.TableConfig("item", 1000, 16)], ranks=1))
    '<Plan of 1 table over 1 rank: XX'
    """
    placements = Counter(plan.placement for plan in tables)
    counts = ", ".join(f"{count:,} {placement}" for placement, count in placements.most_common())
    text = f"{_plural(len(tables), 'table')} over {_plural(ranks, 'rank')}: {counts}"
    if predicted is None:
        return text
    memory, milliseconds = format_bytes(max(predicted.memory)), three_digits(max(predicted.seconds) * 1e3)
    return f"{text}; worst rank {memory}, {milliseconds} ms per step"


def describe(ranks: int, tables: Sequence[TablePlan], predicted: Predicted | None, memory: int | None) -> str:
    """Return a plan as two tables: its ranks (if there are many, the extremes and the mean), and its tables."""
    lines = [summary(ranks, tables, predicted)]
    if predicted is not None:
        lines += ["", *_rank_lines(ranks, tables, predicted), "", _balance_line(predicted, memory)]
    return "\n".join([*lines, "", *_table_lines(ranks, tables)])


def describe_shortfall(
    tables: Sequence[TablePlan],
    shard_bytes: Sequence[int],
    predicted: Predicted,
    memory: int,
    batch_size: int,
    fewest_ranks: int | None,
) -> str:
    """Return by how many bytes tables do not fit, and what helps.

    Args:
        tables: the plan that needs the least memory.
        shard_bytes: of the largest shard of each table, weights and state.
        predicted: the figures of that plan.
        memory: bytes that each rank has.
        batch_size: rows per batch on each rank.
        fewest_ranks: how many ranks of this memory would be enough; None if no number is.
    """
    ranks, fullest = len(predicted.memory), int(np.argmax(predicted.memory))
    weights, state = predicted.table_bytes[fullest], predicted.state_bytes[fullest]
    buffers, need = predicted.buffer_bytes[fullest], predicted.memory[fullest]
    advice = []
    largest = int(np.argmax(shard_bytes))
    table, size = tables[largest].table, shard_bytes[largest]
    if size > memory and table.placement != "auto":
        needs = f"needs {format_bytes(size)} {table.placement}"
        advice.append(f"placement 'auto' for table {table.name!r}, which {needs}")
    if fewest_ranks is not None and fewest_ranks > ranks:
        advice.append(f"at least {fewest_ranks} ranks of this memory")
    if state > 0.1 * weights:
        advice.append("an optimizer with less state, such as RowwiseAdagrad (one number per row)")
    if buffers > 0.2 * memory:
        advice.append(f"a smaller batch than {batch_size:,} rows per rank")
    advice.append("more memory per rank, narrower or smaller tables")
    return (
        f"{len(tables):,} tables do not fit {ranks:,} x {format_bytes(memory)}: the fullest rank, {fullest}, "
        f"needs {format_bytes(need)} (tables {format_bytes(weights)}, optimizer state {format_bytes(state)}, "
        f"buffers {format_bytes(buffers)}), {format_bytes(need - memory)} over its limit; all ranks together "
        f"have {format_bytes(memory * ranks)} and need {format_bytes(sum(predicted.memory))}. "
        f"What helps: {'; '.join(advice)}"
    )


def balance(figures: Sequence[float]) -> float:
    """Return the worst rank's figure over the mean; 1 is even."""
    mean = sum(figures) / len(figures)
    return max(figures) / mean if mean else 1.0


def _rank_lines(ranks: int, tables: Sequence[TablePlan], predicted: Predicted) -> list[str]:
    shards = np.zeros(ranks, np.int64)
    for plan in tables:
        shards[list(plan.ranks)] += 1
    memory_unit, memory_size = largest_unit(max(predicted.memory))
    traffic_unit, traffic_size = largest_unit(max(predicted.sent_bytes))
    memory = (predicted.table_bytes, predicted.state_bytes, predicted.buffer_bytes, predicted.memory)
    traffic = (predicted.sent_bytes, predicted.received_bytes)
    milliseconds = np.array(predicted.seconds) * 1e3
    figures = np.array(
        [
            shards,
            *(np.array(by_rank) / memory_size for by_rank in memory),
            *(np.array(by_rank) / traffic_size for by_rank in traffic),
            milliseconds,
        ]
    )
    if ranks <= _MAX_RANKS:
        shown = {str(rank): rank for rank in range(ranks)}
    else:
        extremes = [("slowest", np.argmax(milliseconds)), ("quickest", np.argmin(milliseconds))]
        extremes += [("fullest", np.argmax(figures[4])), ("emptiest", np.argmin(figures[4]))]
        shown = {f"{word}: {rank}": int(rank) for word, rank in extremes}
    rows = [[label, *_numbers(figures[:, rank])] for label, rank in shown.items()]
    rows.append(["mean", *_numbers(figures.mean(1))])
    header = ["rank", "shards", *(f"{part} {memory_unit}" for part in ("tables", "state", "buffers", "total"))]
    header += [f"sent {traffic_unit}", f"received {traffic_unit}", "ms"]
    return _aligned([header, *rows])


def _numbers(figures: np.ndarray) -> list[str]:
    return [f"{figures[0]:,.0f}", *map(three_digits, figures[1:])]


def _balance_line(predicted: Predicted, memory: int | None) -> str:
    figures = {"memory": predicted.memory, "bytes sent": predicted.sent_bytes, "time": predicted.seconds}
    text = ", ".join(f"{name} {balance(by_rank):.2f}" for name, by_rank in figures.items())
    limit = "" if memory is None else f"; limit {format_bytes(memory)} per rank"
    return f"worst over mean: {text}{limit}"


def _table_lines(ranks: int, tables: Sequence[TablePlan]) -> list[str]:
    """Return a line per table; if there are many, one per kind of table, the largest first."""
    many = len(tables) > _MAX_TABLES
    groups: dict[tuple[str, ...], list[TablePlan]] = {}
    for plan in tables:
        cells = _table_cells(ranks, plan, many)
        groups.setdefault(cells if many else (*cells, plan.table.name), []).append(plan)
    lines = [(cells[:6], plans) for cells, plans in groups.items()]
    if many:
        lines.sort(key=lambda line: -line[1][0].table.vocabulary_size * line[1][0].table.embedding_dim)
    rows = [[_group_name(plans), *cells] for cells, plans in lines]
    header = ["table", "rows", "width", "placement", "on", "replicated rows", "exchange"]
    rest = [f"... and {len(rows) - _MAX_TABLES:,} more kinds"] if len(rows) > _MAX_TABLES else []
    return _aligned([header, *rows[:_MAX_TABLES]]) + rest


def _table_cells(ranks: int, plan: TablePlan, many: bool) -> tuple[str, ...]:
    table, owners = plan.table, len(plan.ranks)
    if owners == 1:
        where = "1 rank" if many else f"rank {plan.ranks[0]}"
    else:
        where = "all ranks" if owners == ranks else f"{owners} ranks"
    replicas = f"{plan.frequent_rows:,}" if plan.frequent_rows else ""
    return (f"{table.vocabulary_size:,}", str(table.embedding_dim), plan.placement, where, replicas, plan.exchange)


def _group_name(plans: Sequence[TablePlan]) -> str:
    name = plans[0].table.name
    return name if len(plans) == 1 else f"{name} and {len(plans) - 1:,} like it"


def _aligned(rows: list[list[str]]) -> list[str]:
    """Pad columns to one width, numbers to the right."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [any(cell[:1].isdigit() for cell in column[1:]) for column in columns]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in rows
    ]


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
