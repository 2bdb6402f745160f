"""A plan as text: what each rank holds and does, and where each table lives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from kerasrec.tables.byte_sizes import format_bytes, largest_unit, three_digits
from kerasrec.tables.plan import Plan, Predicted

_RANKS = 16  # more than these are summed up
_LINES = 40  # of tables


def summary(plan: Plan) -> str:
    """One line.

    >>> repr(kr.parallel.plan([kr.TableConfig("item", 1000, 16)], ranks=1))
    '<Plan of 1 table over 1 rank: XX'
    """
    kinds = Counter(each.placement for each in plan.tables)
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    text = f"{_plural(len(plan.tables), 'table')} over {_plural(plan.ranks, 'rank')}: {counts}"
    if plan.predicted is not None:
        seconds, held = max(plan.predicted.seconds), max(plan.predicted.memory)
        text += f"; worst rank {format_bytes(held)}, {three_digits(seconds * 1e3)} ms a step"
    return text


def describe(plan: Plan) -> str:
    """The ranks (of many: the slowest, the quickest, the fullest and the mean), the balance, and the tables."""
    lines = [summary(plan)]
    if plan.predicted is not None:
        lines += ["", *_ranks(plan, plan.predicted), "", _balance(plan, plan.predicted)]
    return "\n".join([*lines, "", *_tables(plan)])


def balance(figures: Sequence[float]) -> float:
    """The worst rank's figure over the mean: 1 is even."""
    mean = sum(figures) / len(figures)
    return max(figures) / mean if mean else 1.0


def _ranks(plan: Plan, predicted: Predicted) -> list[str]:
    owned = np.zeros(plan.ranks, np.int64)
    for each in plan.tables:
        owned[list(each.ranks)] += 1
    memory, memory_size = largest_unit(max(predicted.memory))
    traffic, traffic_size = largest_unit(max(predicted.sent_bytes))
    held = (predicted.table_bytes, predicted.state_bytes, predicted.buffer_bytes, predicted.memory)
    moved = (predicted.sent_bytes, predicted.received_bytes)
    figures = np.array(
        [
            owned,
            *(np.array(part) / memory_size for part in held),
            *(np.array(part) / traffic_size for part in moved),
            np.array(predicted.seconds) * 1e3,
        ]
    )
    if plan.ranks <= _RANKS:
        shown = {str(rank): rank for rank in range(plan.ranks)}
    else:
        picked = [("slowest", np.argmax(figures[-1])), ("quickest", np.argmin(figures[-1]))]
        picked += [("fullest", np.argmax(figures[4])), ("emptiest", np.argmin(figures[4]))]
        shown = {f"{word}: {rank}": int(rank) for word, rank in picked}
    rows = [[label, *_numbers(figures[:, rank])] for label, rank in shown.items()]
    rows.append(["mean", *_numbers(figures.mean(1))])
    header = ["rank", "parts", *(f"{what} {memory}" for what in ("tables", "state", "buffers", "in all"))]
    header += [f"sent {traffic}", f"received {traffic}", "ms"]
    return _aligned([header, *rows])


def _numbers(column: np.ndarray) -> list[str]:
    return [f"{column[0]:,.0f}", *map(three_digits, column[1:])]


def _balance(plan: Plan, predicted: Predicted) -> str:
    parts = {"memory": predicted.memory, "bytes sent": predicted.sent_bytes, "time": predicted.seconds}
    text = ", ".join(f"{name} {balance(figures):.2f}" for name, figures in parts.items())
    free = "" if plan.memory is None else f"; limit {format_bytes(plan.memory)} a rank"
    return f"worst over mean: {text}{free}"


def _tables(plan: Plan) -> list[str]:
    """A line for each table, or for tables that are alike, the largest first where there are many."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for each in plan.tables:
        table, owners = each.table, len(each.ranks)
        if owners == 1:
            where = f"rank {each.ranks[0]}" if len(plan.tables) <= _LINES else "1 rank"
        else:
            where = "all ranks" if owners == plan.ranks else f"{owners} ranks"
        sizes = (f"{table.vocabulary_size:,}", str(table.embedding_dim), each.placement, where)
        facts = (*sizes, f"{each.frequent_rows:,}" if each.frequent_rows else "", each.exchange)
        alone = (table.name,) if len(plan.tables) <= _LINES else ()
        alike.setdefault((*facts, *alone), []).append(table.name)
    groups = list(alike.items())
    if len(plan.tables) > _LINES:
        groups.sort(key=lambda group: -int(group[0][0].replace(",", "")) * int(group[0][1]))
    rows = [
        [names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1:,} like it", *facts[:6]]
        for facts, names in groups
    ]
    header = ["table", "rows", "width", "placement", "lives on", "copied rows", "exchanges"]
    rest = [f"... and {len(rows) - _LINES:,} more kinds"] if len(rows) > _LINES else []
    return _aligned([header, *rows[:_LINES]]) + rest


def _aligned(rows: list[list[str]]) -> list[str]:
    """Columns of one width, numbers to the right."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    number = [any(cell[:1].isdigit() for cell in column[1:]) for column in columns]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, number, strict=True)
        ).rstrip()
        for row in rows
    ]


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
