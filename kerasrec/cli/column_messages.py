"""What `kerasrec train` prints about the columns of the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kerasrec.cli.leaks import leaks
from kerasrec.cli.roles import INDEX, ROW_NUMBER, Guess, short_type
from kerasrec.cli.steps import Step, chain

_NAME_WIDTH = 24  # of a column's name, before it is wrapped


def print_columns(console: Console, guesses: Sequence[Guess], rows: int) -> None:
    """Print a line per column, the operators, and how to override what was guessed. Long texts are wrapped."""
    console.print(_column_table(guesses, rows, console.width < 1_000))
    console.print()
    console.print(_operator_table(guesses))
    console.print("\nOverride with --categorical, --continuous, --drop, --time or --task.\n", style="dim")


def column_warnings(sample: pl.DataFrame, guesses: Sequence[Guess]) -> Iterator[str]:
    """Yield what a user should know about columns before trusting a model."""
    row_numbers = [guess.name for guess in guesses if guess.reason in (ROW_NUMBER, INDEX)]
    if row_numbers:
        names = ", ".join(map(repr, row_numbers))
        yield (
            f"Left out because they number the rows or are a pandas index: {names}. A model could learn the order "
            "of the rows from such a column. To use it anyway, pass --categorical NAME or --continuous NAME."
        )
    for leak in leaks(sample, guesses):
        verb = "gives the target away" if leak.certain else "may give the target away"
        yield (
            f"Column {leak.column!r} {verb}: {leak.reason}. If it is computed from the target, or only known "
            "after it, leave it out with --drop."
        )


def warn(console: Console, text: str) -> None:
    """Print a warning."""
    console.print(f"{text}\n", style="yellow", markup=False, highlight=False)


def _column_table(guesses: Sequence[Guess], rows: int, narrow: bool) -> Table:
    table = _table(f"{rows:,} rows, {len(guesses)} columns")
    table.add_column("column", overflow="fold", max_width=_NAME_WIDTH if narrow else None)
    table.add_column("type", overflow="fold", max_width=12 if narrow else None)
    table.add_column("distinct", justify="right", no_wrap=True)
    table.add_column("nulls", justify="right", no_wrap=True)
    table.add_column("use", overflow="fold")
    for guess in guesses:
        stats = guess.stats
        cells = guess.name, short_type(stats.dtype), f"{stats.distinct:,}", f"{stats.nulls:,}"
        table.add_row(*map(Text, cells), Text(f"{guess.role}: {guess.reason}"))
    return table


def _operator_table(guesses: Sequence[Guess]) -> Table:
    table = _table("Operators")
    table.add_column("columns", overflow="fold", ratio=2)
    table.add_column("operators", overflow="fold", ratio=3)
    for steps, names in names_by_steps(guesses).items():
        table.add_row(Text(", ".join(names)), Text(chain(steps)))
    return table


def names_by_steps(guesses: Sequence[Guess]) -> Mapping[tuple[Step, ...], list[str]]:
    """Return the columns that the same steps prepare, in the order of the columns."""
    names: dict[tuple[Step, ...], list[str]] = {}
    for guess in guesses:
        if guess.steps:
            names.setdefault(guess.steps, []).append(guess.name)
    return names


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
