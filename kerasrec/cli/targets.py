"""What a model predicts: a probability or a number, and which value of a target counts as 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl

from kerasrec.cli.column_stats import ColumnStats
from kerasrec.cli.errors import CommandError
from kerasrec.cli.steps import Step

TargetSteps = tuple[tuple[Step, ...], str]


def target_steps(
    targets: Sequence[ColumnStats], task: str | None, positive: Sequence[str] = ()
) -> dict[str, TargetSteps]:
    """Return the steps that prepare each target, and the reason.

    Args:
        targets: the columns to predict.
        task: "binary" or "regression"; None decides by the values.
        positive: values that count as 1, as a user types them. A target takes the one that it has.

    Raises:
        CommandError: a target that no model can learn, or that does not fit the task; a value of `positive` that
            no target has.
    """
    found: dict[str, list[str]] = {}
    used: set[str] = set()
    for stats in targets:
        _check_type(stats)
        ours = [value for value in positive if _has(stats, value)]
        if len(ours) > 1:
            raise CommandError(f"--positive: target {stats.name!r} has both {ours[0]!r} and {ours[1]!r}")
        used.update(ours)
        found[stats.name] = ours
    if unused := [value for value in positive if value not in used]:
        values = "; ".join(f"{stats.name!r} {_values(stats)}" for stats in targets)
        raise CommandError(f"--positive: no target has the value {unused[0]!r}: {values}")
    return {
        stats.name: _positive(stats, ours[0]) if (ours := found[stats.name]) else _target(stats, task)
        for stats in targets
    }


def _check_type(stats: ColumnStats) -> None:
    """Raise `CommandError` for a target that no model can learn."""
    name, boolean = stats.name, stats.dtype == pl.Boolean
    if stats.unreadable:
        raise CommandError(stats.unreadable)
    if not (boolean or stats.dtype.is_numeric() or stats.value_kind == "strings") or stats.is_list:
        raise CommandError(f"target {name!r} is {stats.dtype}; expected 0 and 1, or numbers")
    if stats.distinct < 2:
        value = f", {stats.values[0]}" if stats.values else ""
        raise CommandError(f"target {name!r} is the same in every row{value}; there is nothing to learn")
    if stats.low is not None and not (math.isfinite(stats.low) and math.isfinite(stats.high or 0.0)):
        raise CommandError(f"target {name!r} has infinite values; leave those rows out")


def _target(stats: ColumnStats, task: str | None) -> TargetSteps:
    name, boolean = stats.name, stats.dtype == pl.Boolean
    if stats.value_kind == "strings":
        raise CommandError(f"target {name!r} is text: it {_values(stats)}; {_remedy(stats)}")
    binary = boolean or (stats.distinct == 2 and stats.low == 0 and stats.high == 1)
    if not binary and (task == "binary" or (task is None and stats.distinct == 2)):
        remedy = "pass --task regression"
        if stats.distinct == 2:
            remedy = f"pass --positive {stats.values[1]} (the other value counts as 0), or --task regression"
        raise CommandError(f"target {name!r} is not 0/1: it {_values(stats)}; {remedy}")
    if binary and task != "regression":
        return (Step.of("Target", binary=True),), "true or false" if boolean else "0 or 1"
    return (Step.of("Target", binary=False),), "numbers"


def _remedy(stats: ColumnStats) -> str:
    if stats.note:
        return stats.note
    if not stats.values:
        return "pass a target of 0 and 1, of numbers, or of a few values of which --positive names one"
    shown = stats.values[-1]
    quoted = f'"{shown}"' if " " in shown or not shown else shown
    return f"pass --positive with the value that counts as 1, such as --positive {quoted}"


def _values(stats: ColumnStats) -> str:
    if stats.values:
        kind = "has the values" if stats.value_kind == "strings" else "is"
        quoted = [repr(value) if stats.value_kind == "strings" else value for value in stats.values]
        return f"{kind} {', '.join(quoted[:-1])} {'and' if kind[0] == 'h' else 'or'} {quoted[-1]}"
    if stats.low is None:
        return f"has {stats.distinct:,} different values"
    return f"has values in [{stats.low:g}, {stats.high:g}]"


def _has(stats: ColumnStats, value: str) -> bool:
    """Return whether a target may have a value: known if it has few, else by its type and range."""
    if stats.dtype == pl.Boolean:
        return False
    if stats.value_kind == "strings":
        return value in stats.values if stats.values else True
    number = _number(value)
    if number is None:
        return False
    if stats.values:
        return any(float(known) == number for known in stats.values)
    return (stats.low or 0.0) <= number <= (stats.high or 0.0)


def _positive(stats: ColumnStats, value: str) -> TargetSteps:
    typed: str | float | None = value if stats.value_kind == "strings" else _number(value)
    others = [
        known for known in stats.values if (known if stats.value_kind == "strings" else float(known)) != typed
    ]
    named = " and ".join(map(repr, others) if stats.value_kind == "strings" else others) or "all other values"
    counts = "counts" if len(others) == 1 else "count"
    return (Step.of("Target", positive=typed),), f"{typed!r} counts as 1; {named} {counts} as 0"


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if number == int(number) else number
