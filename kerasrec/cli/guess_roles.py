"""Give every column a role: what the user says, and guesses for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kerasrec.cli.column_stats import ColumnStats
from kerasrec.cli.errors import CommandError, did_you_mean
from kerasrec.cli.guess_column import as_category, as_number, guess_column, guess_time_column
from kerasrec.cli.roles import (
    CATEGORICAL,
    CONTINUOUS,
    DROPPED,
    FEATURES,
    TARGET,
    WEIGHT,
    Guess,
    Wishes,
    short_type,
)
from kerasrec.cli.steps import Step
from kerasrec.cli.targets import target_steps
from kerasrec.cli.weights import is_for_all


def guess_roles(stats: Iterable[ColumnStats], wishes: Wishes) -> list[Guess]:
    """Return a role for every column.

    Args:
        stats: of every column, from `column_stats`.
        wishes: what the user says about them.

    Raises:
        CommandError: an unknown column, a column with two roles, or one whose type does not allow its role; a
            target that does not fit the task; no feature left.
    """
    columns = {column.name: column for column in stats}
    _check_names(columns, wishes)
    roles = _chosen_roles(wishes, columns)
    if not wishes.drop_null_targets:
        _refuse_null_targets([columns[name] for name in wishes.targets])
    targets = target_steps([columns[name] for name in wishes.targets], wishes.task, wishes.positive)
    if wishes.drop_null_targets:
        dropping = (Step.of("DropNA"),)
        targets = {name: ((*dropping, *steps), reason) for name, (steps, reason) in targets.items()}
    if not is_for_all(wishes.weights, wishes.targets):
        for name, weight in wishes.weights.items():
            steps, reason = targets[name]
            targets[name] = (*steps[:-1], steps[-1].with_default(weight=weight)), reason
    guesses = []
    for name, column in columns.items():
        if name in targets:
            guesses.append(Guess(column, TARGET, *targets[name]))
        elif name in wishes.weights.values():
            guesses.append(_weight(column))
        elif name in roles:
            guesses.append(_as_chosen(column, roles[name]))
        elif name in wishes.columns:
            guesses.append(Guess(column, *wishes.columns[name]))
        elif name == wishes.time:
            guesses.append(guess_time_column(column))
        else:
            guesses.append(guess_column(column))
    if not any(guess.role in FEATURES for guess in guesses):
        left_out = [f"; {guess.name!r} is left out: {guess.reason}" for guess in guesses if guess.role == DROPPED]
        names = " and ".join(map(repr, wishes.targets))
        reasons = "".join(left_out[:6]) or "; the data has no other column"
        raise CommandError(f"no column is left to predict {names} from{reasons}")
    return guesses


# ---- what the user chooses ----------------------------------------------------------------------------------
def _check_names(columns: Mapping[str, ColumnStats], wishes: Wishes) -> None:
    """Raise `CommandError` for the name of a column that there is not, or that is named twice."""
    named = [("--target", name) for name in wishes.targets]
    named += [("--sample-weight", name) for name in wishes.weights.values()]
    named += [] if wishes.time is None else [("--time", wishes.time)]
    for flag, name in named:
        if name not in columns:
            raise CommandError(f"{flag}: no column {name!r}{did_you_mean(name, columns)}")
    for name in wishes.targets:
        if list(wishes.targets).count(name) > 1:
            raise CommandError(f"--target: {name!r} is given twice")
    for target, name in wishes.weights.items():
        if name == target:
            raise CommandError(f"--sample-weight: {name!r} is the target itself")
    if wishes.time in wishes.targets:
        raise CommandError(f"--time: {wishes.time!r} is the target")
    if unknown := [name for name in wishes.columns if name not in columns]:
        raise CommandError(f"--config: no column {unknown[0]!r}{did_you_mean(unknown[0], columns)}")


def _chosen_roles(wishes: Wishes, columns: Mapping[str, ColumnStats]) -> dict[str, str]:
    roles: dict[str, str] = {}
    for role, names in wishes.chosen.items():
        flag = "--drop" if role == DROPPED else f"--{role}"
        for given in names:
            name = given if given in columns else given.strip()
            if name not in columns:
                raise CommandError(f"{flag}: no column {name!r}{did_you_mean(name, columns)}")
            if name in wishes.targets:
                raise CommandError(f"{flag}: {name!r} is the target")
            if name in wishes.weights.values():
                raise CommandError(f"{flag}: {name!r} is the weight of the rows (--sample-weight)")
            if roles.setdefault(name, role) != role:
                raise CommandError(f"column {name!r} cannot be both {roles[name]} and {role}")
    return roles


def _as_chosen(stats: ColumnStats, role: str) -> Guess:
    if stats.unreadable and role != DROPPED:
        raise CommandError(stats.unreadable)
    kind = short_type(stats.dtype)
    if role == CATEGORICAL:
        if stats.value_kind not in ("strings", "booleans", "integers"):
            raise CommandError(f"--categorical: {stats.name!r} is {kind}; expected strings or integers")
        return as_category(stats, "set by option")
    if role == CONTINUOUS:
        if stats.is_list or stats.value_kind not in ("integers", "decimals"):
            note = f", {stats.note}" if stats.note else ""
            raise CommandError(f"--continuous: {stats.name!r} is {kind}{note}; expected one number per row")
        return as_number(stats, "set by option")
    return Guess(stats, DROPPED, (), "set by option")


def _weight(stats: ColumnStats) -> Guess:
    """Return the guess of the column with the rows' weights."""
    problem = ""
    if stats.unreadable:
        raise CommandError(stats.unreadable)
    if stats.is_list or stats.value_kind not in ("integers", "decimals"):
        problem = f"is {short_type(stats.dtype)}; expected one number per row"
    elif stats.nulls:
        problem = f"has nulls (at least {stats.nulls:,}); fill them"
    elif (stats.low or 0.0) < 0:
        problem = f"has negative weights, down to {stats.low:g}"
    if problem:
        raise CommandError(f"--sample-weight: {stats.name!r} {problem}")
    return Guess(stats, WEIGHT, (Step.of("AddTags", tags=["weight"]),), "set by option")


def _refuse_null_targets(targets: Sequence[ColumnStats]) -> None:
    for stats in targets:
        if stats.nulls and stats.count:
            raise CommandError(
                f"target {stats.name!r} has nulls (at least {stats.nulls:,}); pass --drop-null-targets to leave "
                "those rows out"
            )
