"""What `kerasrec train` prints about the columns of the data."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from rich.console import Console
from rich.table import Table

from kerasrec.cli.guess_roles import INDEX, ROW_NUMBER, Guess
from kerasrec.cli.leaks import leaks
from kerasrec.cli.text_table import table


def print_columns(console: Console, guesses: Sequence[Guess], rows: int) -> None:
    """Print a line per column, and how to override what was guessed."""
    console.print(_column_table(guesses, rows))
    console.print("Override with --categorical, --continuous, --drop or --task.\n", style="dim")
    row_numbers = [guess.name for guess in guesses if guess.reason in (ROW_NUMBER, INDEX)]
    if row_numbers:
        names = ", ".join(map(repr, row_numbers))
        _warn(
            console,
            f"Left out because they number the rows or are a pandas index: {names}. A model could learn the order "
            "of the rows from such a column. To use it anyway, pass --categorical NAME or --continuous NAME.\n",
        )


def warn_of_leaks(console: Console, sample: pl.DataFrame, guesses: Sequence[Guess]) -> None:
    """Print a warning for each feature that gives the target away."""
    for name, reason in leaks(sample, guesses):
        _warn(
            console,
            f"Column {name!r} gives the target away: {reason}. If it is computed from the target, or only known "
            f"after it, leave it out with --drop.\n",
        )


def _warn(console: Console, text: str) -> None:
    console.print(text, style="yellow", markup=False, highlight=False)


def _column_table(guesses: Sequence[Guess], rows: int) -> Table:
    lines = [
        (guess.name, str(stats.dtype), f"{stats.distinct:,}", f"{stats.nulls:,}", guess.role, guess.reason)
        for guess, stats in ((guess, guess.stats) for guess in guesses)
    ]
    header = ("column", "type", "distinct", "nulls", "role", "reason")
    return table(f"{rows:,} rows", lines, header, right=("distinct", "nulls"))
