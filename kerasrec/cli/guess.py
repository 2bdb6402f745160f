"""What a user's columns are for, guessed from their types and values; each guess with its reason."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from kerasrec.cli.errors import Refused, close_to
from kerasrec.cli.facts import Facts
from kerasrec.etl.sources.types import is_readable

FEW = 32  # up to so many distinct integers are taken for codes
SMALL = 20  # among fewer values, that all differ says nothing
ROW_NUMBER, INDEX = "numbers the rows", "the index of a pandas frame"
_RUN = 200  # rows that count up, or down, one after another

CATEGORICAL, CONTINUOUS, TARGET, DROPPED = "categorical", "continuous", "target", "dropped"
_ID_NAME = re.compile(r"(^|[_\W])(id|ids|key|code|uuid|hash)$", re.IGNORECASE)
_CAMEL_ID = re.compile(r"[a-z](Id|ID)s?$")


@dataclass(frozen=True)
class Guess:
    """What a column is for: its role, the operators that prepare it, and why."""

    facts: Facts
    role: str
    ops: tuple[str, ...]
    reason: str

    @property
    def name(self) -> str:
        return self.facts.name


def guess_roles(
    facts: Iterable[Facts],
    target: str,
    asked: Mapping[str, Iterable[str]] | None = None,
    task: str | None = None,
) -> list[Guess]:
    """A role for every column.

    Args:
        facts: of all columns, as `look` gives them.
        target: the column to predict.
        asked: role -> names of columns that a user gives this role.
        task: "binary" or "regression"; from the target's values if not given.

    Raises:
        Refused: an unknown column, a column asked to be two things, or one that its type forbids, a target that
            does not fit the task, or no feature left.
    """
    columns = {fact.name: fact for fact in facts}
    if target not in columns:
        raise Refused(f"--target: no column {target!r}{close_to(target, columns)}")
    roles = _roles_asked(asked or {}, columns, target)
    guesses = []
    for name, fact in columns.items():
        if name == target:
            guesses.append(_target(fact, task))
        elif name in roles:
            guesses.append(_as_asked(fact, roles[name]))
        else:
            role, reason = _role(fact)
            guesses.append(Guess(fact, role, _ops(role, fact), reason))
    if not any(guess.role in (CATEGORICAL, CONTINUOUS) for guess in guesses):
        left_out = [f"; {guess.name!r} is left out: {guess.reason}" for guess in guesses if not guess.ops]
        raise Refused(f"no column is left to predict {target!r} from{''.join(left_out[:6])}")
    return guesses


# ---- the rules ----------------------------------------------------------------------------------------------
def _role(fact: Facts) -> tuple[str, str]:
    holds = fact.holds
    if fact.index:
        return DROPPED, INDEX
    if not is_readable(fact.name):
        return DROPPED, "a name that no operator reads; rename it"
    if fact.unreadable:
        return DROPPED, fact.unreadable
    if fact.kind.is_nested():
        return DROPPED, f"no operator reads {fact.dtype}"
    if not fact.distinct:
        return DROPPED, "nothing but empty lists" if fact.is_list else "nothing but nulls"
    if fact.is_list:
        if holds in ("strings", "integers"):
            return CATEGORICAL, f"lists of {holds}"
        return DROPPED, f"no model reads lists of {holds}"
    if fact.distinct == 1 and not fact.nulls:
        return DROPPED, "the same value everywhere"
    if _numbers_rows(fact):
        return DROPPED, ROW_NUMBER
    if holds == "strings":
        if fact.distinct > 0.9 * fact.seen and fact.seen >= SMALL:
            return DROPPED, "text that hardly repeats"
        return CATEGORICAL, "strings that repeat"
    if holds == "booleans":
        return CATEGORICAL, "true or false"
    if holds == "integers":
        return _role_of_integers(fact)
    if holds == "decimals":
        return CONTINUOUS, "decimals" + _tail(fact)
    if holds == "dates":
        return DROPPED, "dates: etl.TimeFeatures tells their hour and weekday"
    return DROPPED, f"no operator reads {holds}"


def _numbers_rows(fact: Facts) -> bool:
    """Whether integers, also those that were made floats, tell rows apart and nothing else: no two are equal, or
    they count up over long runs of rows, as those of files that were put one after another.

    As a category such a column is useless, and as a number it is the order of the rows, which may be that of the
    target. Times are kept where they leave gaps.
    """
    if fact.is_list or not fact.whole or fact.seen < SMALL:
        return False
    if fact.distinct == fact.seen:
        return _span(fact) <= 2 * fact.seen or _named_id(fact) or not _unix_time(fact)
    return fact.distinct > _RUN and fact.steps >= (1 - 1 / _RUN) * fact.seen and not _unix_time(fact)


def _named_id(fact: Facts) -> bool:
    return bool(_ID_NAME.search(fact.name) or _CAMEL_ID.search(fact.name))


def _span(fact: Facts) -> float:
    return (fact.high or 0.0) - (fact.low or 0.0) + 1


def _unix_time(fact: Facts) -> bool:
    """Whether numbers may be seconds, milli-, micro- or nanoseconds since 1970, from 2001 to 2039."""
    low, high = fact.low or 0.0, fact.high or 0.0
    return any(unit <= low and high <= 2.2 * unit for unit in (1e9, 1e12, 1e15, 1e18))


def _role_of_integers(fact: Facts) -> tuple[str, str]:
    span = _span(fact)
    if _named_id(fact):
        return CATEGORICAL, "named as an id"
    if fact.distinct <= FEW:
        return CATEGORICAL, "few distinct integers"
    if _unix_time(fact):
        return CONTINUOUS, "a Unix time? hour and weekday tell more"
    full = fact.distinct / span
    if (fact.distinct > 200 and full > 0.9) or (fact.distinct > 1000 and full > 0.5):
        return CATEGORICAL, "integers fill their range"
    if span > 2**31 and fact.distinct < 0.5 * fact.seen:
        return CATEGORICAL, "hashes that repeat"
    return CONTINUOUS, "many integers" + _tail(fact)


def _ops(role: str, fact: Facts) -> tuple[str, ...]:
    if role == CATEGORICAL:
        return ("Categorify",)
    if role == CONTINUOUS:
        return ("FillMissing", *(("Clip", "LogOp") if _heavy_tailed(fact) else ()), "Normalize")
    return ()


def _heavy_tailed(fact: Facts) -> bool:
    """Clearly so, and never negative: skewed, with a maximum far off the mean."""
    if fact.low is None or fact.high is None or fact.mean is None or fact.skew is None:
        return False
    return fact.low >= 0 and fact.skew > 3 and fact.high > 20 * fact.mean


def _tail(fact: Facts) -> str:
    return "; heavy tail: log" if _heavy_tailed(fact) else ""


# ---- what a user says ---------------------------------------------------------------------------------------
def _roles_asked(asked: Mapping[str, Iterable[str]], known: Mapping[str, Facts], target: str) -> dict[str, str]:
    roles: dict[str, str] = {}
    for role, names in asked.items():
        flag = "--drop" if role == DROPPED else f"--{role}"
        for said in names:
            name = said if said in known else said.strip()
            if name not in known:
                raise Refused(f"{flag}: no column {name!r}{close_to(name, known)}")
            if name == target:
                raise Refused(f"{flag}: {name!r} is the target")
            if roles.setdefault(name, role) != role:
                raise Refused(f"column {name!r} is asked to be both {roles[name]} and {role}")
    return roles


def _as_asked(fact: Facts, role: str) -> Guess:
    if fact.unreadable and role != DROPPED:
        raise Refused(fact.unreadable)
    if role == CATEGORICAL and fact.holds not in ("strings", "booleans", "integers"):
        raise Refused(f"--categorical: {fact.name!r} is {fact.dtype}; Categorify reads strings and integers")
    if role == CONTINUOUS and (fact.is_list or fact.holds not in ("integers", "decimals")):
        raise Refused(f"--continuous: {fact.name!r} is {fact.dtype}, not one number a row")
    return Guess(fact, role, _ops(role, fact), "as you say" + (_tail(fact) if role == CONTINUOUS else ""))


def _target(fact: Facts, task: str | None) -> Guess:
    name, boolean = fact.name, fact.dtype == pl.Boolean
    if fact.unreadable:
        raise Refused(fact.unreadable)
    if not (boolean or fact.dtype.is_numeric()):
        values = f" with the values {' and '.join(map(repr, fact.few))}" if fact.few else ""
        raise Refused(f"target {name!r} is {fact.dtype}{values}: it must be 0 or 1, or a number")
    if fact.nulls:
        raise Refused(f"target {name!r} has nulls, {fact.nulls:,} at least: leave those rows out")
    if fact.distinct < 2:
        value = "" if fact.low is None else f", {fact.low:g}"
        raise Refused(f"target {name!r} is the same in every row{value}: there is nothing to learn")
    if not boolean and not all(map(math.isfinite, (fact.low or 0.0, fact.high or 0.0))):
        raise Refused(f"target {name!r} has infinite values: leave those rows out")
    binary = boolean or (fact.distinct == 2 and fact.low == 0 and fact.high == 1)
    if not binary and (task == "binary" or (task is None and fact.distinct == 2)):
        raise Refused(
            f"target {name!r} is not 0/1: its values go from {fact.low:g} to {fact.high:g}; "
            "make it 0 and 1, or pass --task regression"
        )
    if binary and task != "regression":
        return Guess(fact, TARGET, ("Target(binary=True)",), "0 or 1")
    return Guess(fact, TARGET, ("Target(binary=False)",), "numbers")
