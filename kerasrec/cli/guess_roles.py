"""Guess what each column is for from its type and values, and say why."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from kerasrec.cli.column_stats import ColumnStats
from kerasrec.cli.errors import CommandError, did_you_mean
from kerasrec.etl.sources.types import is_readable

MAX_CODES = 32  # distinct integers that are taken for codes
MIN_ROWS = 20  # fewer values that all differ may do so by chance
ROW_NUMBER, INDEX = "numbers the rows", "the index of a pandas frame"
_MIN_RUN = 200  # rows that count up, or down, one after another

CATEGORICAL, CONTINUOUS, TARGET, DROPPED = "categorical", "continuous", "target", "dropped"
_ID_NAME = re.compile(r"(^|[_\W])(id|ids|key|code|uuid|hash)$", re.IGNORECASE)
_CAMEL_ID = re.compile(r"[a-z](Id|ID)s?$")


@dataclass(frozen=True)
class Guess:
    """The role of a column, the operators that prepare it, and the reason."""

    stats: ColumnStats
    role: str
    ops: tuple[str, ...]
    reason: str

    @property
    def name(self) -> str:
        """The column's name."""
        return self.stats.name


def guess_roles(
    stats: Iterable[ColumnStats],
    target: str,
    chosen: Mapping[str, Iterable[str]] | None = None,
    task: str | None = None,
) -> list[Guess]:
    """Return a role for every column.

    Args:
        stats: of every column, from `column_stats`.
        target: the column to predict.
        chosen: role -> names of the columns that the user gives this role.
        task: "binary" or "regression"; None decides by the target's values.

    Raises:
        CommandError: an unknown column, a column with two roles, or one whose type does not allow its role; a
            target that does not fit the task; no feature left.
    """
    columns = {column.name: column for column in stats}
    if target not in columns:
        raise CommandError(f"--target: no column {target!r}{did_you_mean(target, columns)}")
    roles = _chosen_roles(chosen or {}, columns, target)
    guesses = []
    for name, column in columns.items():
        if name == target:
            guesses.append(_target(column, task))
        elif name in roles:
            guesses.append(_as_chosen(column, roles[name]))
        else:
            role, reason = _role(column)
            guesses.append(Guess(column, role, _ops(role, column), reason))
    if not any(guess.role in (CATEGORICAL, CONTINUOUS) for guess in guesses):
        left_out = [f"; {guess.name!r} is left out: {guess.reason}" for guess in guesses if not guess.ops]
        raise CommandError(f"no column is left to predict {target!r} from{''.join(left_out[:6])}")
    return guesses


# ---- the rules ----------------------------------------------------------------------------------------------
def _role(stats: ColumnStats) -> tuple[str, str]:
    """Return a column's role and the reason."""
    if reason := _cannot_be_read(stats) or _says_nothing(stats):
        return DROPPED, reason
    if stats.is_list:
        return CATEGORICAL, f"lists of {stats.value_kind}"
    match stats.value_kind:
        case "strings":
            return CATEGORICAL, "strings that repeat"
        case "booleans":
            return CATEGORICAL, "true or false"
        case "integers":
            return _role_of_integers(stats)
        case "decimals":
            return CONTINUOUS, "decimals" + _tail(stats)
        case "dates":
            return DROPPED, "dates; use etl.TimeFeatures for their hour and weekday"
        case _:
            return DROPPED, f"no operator reads {stats.value_kind}"


def _cannot_be_read(stats: ColumnStats) -> str:
    """Return why no operator or model reads a column; "" if one does."""
    if stats.index:
        return INDEX
    if not is_readable(stats.name):
        return "a name that no operator reads; rename it"
    if stats.unreadable:
        return stats.unreadable
    if stats.value_dtype.is_nested():
        return f"no operator reads {stats.dtype}"
    if not stats.distinct:
        return "nothing but empty lists" if stats.is_list else "nothing but nulls"
    if stats.is_list and stats.value_kind not in ("strings", "integers"):
        return f"no model reads lists of {stats.value_kind}"
    return ""


def _says_nothing(stats: ColumnStats) -> str:
    """Return why a model could learn nothing from a column's values; "" if it could."""
    if stats.is_list:
        return ""
    if stats.distinct == 1 and not stats.nulls:
        return "the same value everywhere"
    if _numbers_rows(stats):
        return ROW_NUMBER
    unique = stats.distinct > 0.9 * stats.count and stats.count >= MIN_ROWS
    return "text that hardly repeats" if stats.value_kind == "strings" and unique else ""


def _numbers_rows(stats: ColumnStats) -> bool:
    """Return whether integers, also those stored as floats, only number the rows.

    They do if no two are equal, or if they count up over long runs of rows, like the row numbers of concatenated
    files. As a category such a column is useless, and as a number it is the order of the rows, which may be that
    of the target. Times with gaps between them do not number the rows.
    """
    if stats.is_list or not stats.integral or stats.count < MIN_ROWS:
        return False
    if stats.distinct == stats.count:
        return _span(stats) <= 2 * stats.count or _named_id(stats) or not _unix_time(stats)
    return (
        stats.distinct > _MIN_RUN
        and stats.monotonic_steps >= (1 - 1 / _MIN_RUN) * stats.count
        and not _unix_time(stats)
    )


def _named_id(stats: ColumnStats) -> bool:
    return bool(_ID_NAME.search(stats.name) or _CAMEL_ID.search(stats.name))


def _span(stats: ColumnStats) -> float:
    return (stats.high or 0.0) - (stats.low or 0.0) + 1


def _unix_time(stats: ColumnStats) -> bool:
    """Return whether numbers may be seconds, milli-, micro- or nanoseconds since 1970, from 2001 to 2039."""
    low, high = stats.low or 0.0, stats.high or 0.0
    return any(unit <= low and high <= 2.2 * unit for unit in (1e9, 1e12, 1e15, 1e18))


def _role_of_integers(stats: ColumnStats) -> tuple[str, str]:
    span = _span(stats)
    if _named_id(stats):
        return CATEGORICAL, "named as an id"
    if stats.distinct <= MAX_CODES:
        return CATEGORICAL, "few distinct integers"
    if _unix_time(stats):
        return CONTINUOUS, "looks like a Unix time; etl.TimeFeatures gives its hour and weekday"
    density = stats.distinct / span
    if (stats.distinct > 200 and density > 0.9) or (stats.distinct > 1000 and density > 0.5):
        return CATEGORICAL, "integers fill their range"
    if span > 2**31 and stats.distinct < 0.5 * stats.count:
        return CATEGORICAL, "hashes that repeat"
    return CONTINUOUS, "many integers" + _tail(stats)


def _ops(role: str, stats: ColumnStats) -> tuple[str, ...]:
    if role == CATEGORICAL:
        return ("Categorify",)
    if role == CONTINUOUS:
        return ("FillMissing", *(("Clip", "LogOp") if _heavy_tailed(stats) else ()), "Normalize")
    return ()


def _heavy_tailed(stats: ColumnStats) -> bool:
    """Return whether numbers are never negative and skewed, with a maximum far above the mean."""
    if stats.low is None or stats.high is None or stats.mean is None or stats.skew is None:
        return False
    return stats.low >= 0 and stats.skew > 3 and stats.high > 20 * stats.mean


def _tail(stats: ColumnStats) -> str:
    return "; heavy tail: log" if _heavy_tailed(stats) else ""


# ---- what the user chooses ----------------------------------------------------------------------------------
def _chosen_roles(
    chosen: Mapping[str, Iterable[str]], columns: Mapping[str, ColumnStats], target: str
) -> dict[str, str]:
    roles: dict[str, str] = {}
    for role, names in chosen.items():
        flag = "--drop" if role == DROPPED else f"--{role}"
        for given in names:
            name = given if given in columns else given.strip()
            if name not in columns:
                raise CommandError(f"{flag}: no column {name!r}{did_you_mean(name, columns)}")
            if name == target:
                raise CommandError(f"{flag}: {name!r} is the target")
            if roles.setdefault(name, role) != role:
                raise CommandError(f"column {name!r} cannot be both {roles[name]} and {role}")
    return roles


def _as_chosen(stats: ColumnStats, role: str) -> Guess:
    if stats.unreadable and role != DROPPED:
        raise CommandError(stats.unreadable)
    if role == CATEGORICAL and stats.value_kind not in ("strings", "booleans", "integers"):
        raise CommandError(f"--categorical: {stats.name!r} is {stats.dtype}; expected strings or integers")
    if role == CONTINUOUS and (stats.is_list or stats.value_kind not in ("integers", "decimals")):
        raise CommandError(f"--continuous: {stats.name!r} is {stats.dtype}; expected one number per row")
    return Guess(stats, role, _ops(role, stats), "set by option" + (_tail(stats) if role == CONTINUOUS else ""))


def _target(stats: ColumnStats, task: str | None) -> Guess:
    name, boolean = stats.name, stats.dtype == pl.Boolean
    _check_target(stats)
    binary = boolean or (stats.distinct == 2 and stats.low == 0 and stats.high == 1)
    if not binary and (task == "binary" or (task is None and stats.distinct == 2)):
        raise CommandError(
            f"target {name!r} is not 0/1: its values are in [{stats.low:g}, {stats.high:g}]; "
            "make it 0 and 1, or pass --task regression"
        )
    if binary and task != "regression":
        return Guess(stats, TARGET, ("Target(binary=True)",), "0 or 1")
    return Guess(stats, TARGET, ("Target(binary=False)",), "numbers")


def _check_target(stats: ColumnStats) -> None:
    """Raise `CommandError` for a target that no model can learn."""
    name, boolean = stats.name, stats.dtype == pl.Boolean
    if stats.unreadable:
        raise CommandError(stats.unreadable)
    if not (boolean or stats.dtype.is_numeric()):
        values = f" with the values {' and '.join(map(repr, stats.strings))}" if stats.strings else ""
        raise CommandError(f"target {name!r} is {stats.dtype}{values}; expected 0 and 1, or numbers")
    if stats.nulls:
        raise CommandError(f"target {name!r} has nulls (at least {stats.nulls:,}); leave those rows out")
    if stats.distinct < 2:
        value = "" if stats.low is None else f", {stats.low:g}"
        raise CommandError(f"target {name!r} is the same in every row{value}; there is nothing to learn")
    if not boolean and not all(map(math.isfinite, (stats.low or 0.0, stats.high or 0.0))):
        raise CommandError(f"target {name!r} has infinite values; leave those rows out")
