"""Embedding tables that several columns share, as `--table` names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kerasrec.cli.column_messages import names_by_steps
from kerasrec.cli.errors import CommandError, did_you_mean
from kerasrec.cli.names import column_names
from kerasrec.cli.roles import CATEGORICAL, Guess
from kerasrec.cli.steps import Step


@dataclass(frozen=True)
class Branch:
    """Columns that go through the same last steps together.

    Attributes:
        inputs: columns, and the steps of their own that they go through before.
        steps: of all of them.
    """

    inputs: list[tuple[list[str], tuple[Step, ...]]]
    steps: tuple[Step, ...]


def table_columns(given: Sequence[str]) -> dict[str, list[str]]:
    """Return table -> the columns that share it.

    Args:
        given: "table=column,column", as the option has them.

    Raises:
        CommandError: a text of another form, fewer than two columns, or a column in two tables.
    """
    tables: dict[str, list[str]] = {}
    for text in given:
        name, _, line = text.partition("=")
        names = column_names(line)
        if not name or len(set(names)) < 2 or name in tables:
            raise CommandError(
                f"--table: pass NAME=COLUMN,COLUMN with at least two columns, once per table, such as "
                f"item=item,clicked_items; got {text!r}"
            )
        tables[name] = names
    columns = [name for names in tables.values() for name in names]
    for name in columns:
        if columns.count(name) > 1:
            raise CommandError(f"--table: column {name!r} is there twice; a column has one table")
    return tables


def with_tables(guesses: Sequence[Guess], tables: Mapping[str, Sequence[str]]) -> list[Guess]:
    """Return the guesses with the table of each column in its steps.

    Raises:
        CommandError: a column of a table that the data does not have, or that is not categorical.
    """
    by_name = {guess.name: guess for guess in guesses}
    table_of = {name: table for table, names in tables.items() for name in names}
    for name, table in table_of.items():
        if name not in by_name:
            raise CommandError(f"--table {table}: no column {name!r}{did_you_mean(name, by_name)}")
        if by_name[name].role != CATEGORICAL:
            raise CommandError(
                f"--table {table}: column {name!r} is {by_name[name].role} here; to embed it, pass "
                f"--categorical {name}"
            )
    return [_with_table(guess, table_of[guess.name]) if guess.name in table_of else guess for guess in guesses]


def _with_table(guess: Guess, table: str) -> Guess:
    steps = (s.with_default(table=table) if s.operator == "Categorify" else s for s in guess.steps)
    return replace(guess, steps=tuple(steps))


def branches(guesses: Sequence[Guess]) -> list[Branch]:
    """Return the branches of a workflow: columns of one table are encoded together, however they begin."""
    found: dict[object, Branch] = {}
    for steps, names in names_by_steps(guesses).items():
        shared = [number for number, step in enumerate(steps) if "table" in dict(step.settings)]
        at = shared[0] if shared else 0
        key = steps[at:] if shared else (steps, "alone")
        found.setdefault(key, Branch([], steps[at:])).inputs.append((names, steps[:at]))
    return list(found.values())
