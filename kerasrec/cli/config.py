"""`config.json` of a run: its options as they were resolved, and what became of each column."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from kerasrec._version import __version__
from kerasrec.cli.errors import CommandError, did_you_mean
from kerasrec.cli.options import Task, TrainOptions
from kerasrec.cli.roles import FEATURES, ROLES, Guess
from kerasrec.cli.steps import Step
from kerasrec.files import write_aside

COLUMNS, VERSION = "columns", "kerasrec"
# Where a run goes, and what is done with it there, is not part of the run.
NOT_SAVED = ("out", "overwrite", "script", "config")

ColumnSteps = tuple[str, tuple[Step, ...], str]


@dataclass(frozen=True)
class Config:
    """What a config file says: options, and column -> role, steps and reason."""

    options: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, ColumnSteps] = field(default_factory=dict)


def read_config(path: Path) -> Config:
    """Read a config file.

    Raises:
        CommandError: there is no such file, it is not JSON, or it has an unknown key or a value of another type.
    """
    where = f"--config {path}"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CommandError(f"{where}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise CommandError(f"{where}: not readable as JSON: {error}") from None
    if not isinstance(values, dict):
        raise CommandError(f"{where}: expected an object of options; got {type(values).__name__}")
    known = [entry.name for entry in fields(TrainOptions) if entry.name not in NOT_SAVED]
    for key in values:
        if key in NOT_SAVED:
            raise CommandError(f"{where}: {key!r} belongs on the command line, as --{key}")
        if key not in (*known, COLUMNS, VERSION):
            raise CommandError(f"{where}: unknown key {key!r}{did_you_mean(key, [*known, COLUMNS])}")
    options = {key: _checked(key, values[key], where) for key in known if key in values}
    columns = values.get(COLUMNS, {})
    if not isinstance(columns, dict):
        raise CommandError(f"{where}: 'columns' must be an object by column; got {columns!r}")
    return Config(options, {name: _column(name, value, where) for name, value in columns.items()})


def merge(options: TrainOptions, given: Collection[str], config: Config) -> TrainOptions:
    """Return the options, with those of a config file where the command line does not give them.

    Args:
        options: of the command line, with defaults.
        given: the names of those that were given on it.
        config: the file's.
    """
    return replace(options, **{key: value for key, value in config.options.items() if key not in given})


def write_config(path: Path, options: TrainOptions, guesses: Sequence[Guess]) -> None:
    """Write the options and the columns' roles, so that `--config` repeats the run.

    Paths of data become absolute, so that the run can be repeated from any folder.
    """
    values = {name: value for name, value in asdict(options).items() if name not in NOT_SAVED}
    values |= {name: _absolute(values[name]) for name in ("data", "valid")}
    for name in ("categorical", "continuous", "drop"):
        del values[name]  # `columns` says it
    columns = {
        guess.name: {"role": guess.role, "steps": [step.to_json() for step in guess.steps], "reason": guess.reason}
        for guess in guesses
        if guess.role in ROLES
    }
    lines = [f"  {_json(key)}: {_json(value)}" for key, value in {VERSION: __version__, **values}.items()]
    lines_of_columns = ",\n".join(f"    {_json(name)}: {_json(value)}" for name, value in columns.items())
    lines.append(f"  {_json(COLUMNS)}: {{\n{lines_of_columns}\n  }}")
    with write_aside(path) as aside:
        aside.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _absolute(path: str | None) -> str | None:
    return path if path is None or "://" in path else os.path.abspath(path)


def _checked(key: str, value: Any, where: str) -> Any:
    """Return an option's value, checked as the command line checks it."""
    hint = get_type_hints(TrainOptions, include_extras=True)[key]
    limits = hint.__metadata__[0]
    kinds = get_args(hint.__origin__) or (hint.__origin__,)
    kind = get_origin(kinds[0]) or kinds[0]
    if value is None and type(None) in kinds:
        return None
    if kind is Task and value in list(Task):
        return Task(value)
    if kind is list and isinstance(value, str):
        value = [value]
    if kind is float and type(value) is int:
        value = float(value)
    strings = kind is not list or (isinstance(value, list) and all(isinstance(item, str) for item in value))
    if type(value) is not kind or not strings:
        expected = {list: "a list of strings", Task: " or ".join(Task)}.get(kind, kind.__name__)
        raise CommandError(f"{where}: {key} must be {expected}; got {value!r}")
    for limit, sign, wrong in ((limits.min, ">=", operator.lt), (limits.max, "<=", operator.gt)):
        if limit is not None and wrong(value, limit):
            raise CommandError(f"{where}: {key} must be {sign} {limit:g}; got {value!r}")
    return value


def _column(name: str, value: Any, where: str) -> ColumnSteps:
    place = f"{where}: column {name!r}"
    if not isinstance(value, dict) or not {"role", "steps"} <= set(value) <= {"role", "steps", "reason"}:
        raise CommandError(f"{place}: expected role, steps and perhaps reason; got {value!r}")
    if value["role"] not in ROLES:
        raise CommandError(f"{place}: role must be one of {', '.join(ROLES)}; got {value['role']!r}")
    if not isinstance(value["steps"], list):
        raise CommandError(f"{place}: steps must be a list; got {value['steps']!r}")
    steps = tuple(Step.from_json(step, place) for step in value["steps"])
    if bool(steps) != (value["role"] in FEATURES):
        problem = "needs steps" if value["role"] in FEATURES else "takes no steps"
        raise CommandError(f"{place}: a column of role {value['role']!r} {problem}")
    return value["role"], steps, str(value.get("reason", "by the config file"))
