"""What `kerasrec train` says of a table's columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from rich.console import Console

from kerasrec.cli.guess import INDEX, ROW_NUMBER, Guess
from kerasrec.cli.leaks import leaks
from kerasrec.cli.tables import table


def show_columns(console: Console, guesses: Sequence[Guess], rows: int) -> None:
    """A line for every column, and how to correct what was guessed."""
    console.print(_columns(guesses, rows))
    console.print("Not so? Say it with --categorical, --continuous, --drop or --task.\n", style="dim")
    numbers = [guess.name for guess in guesses if guess.reason in (ROW_NUMBER, INDEX)]
    if numbers:
        names = ", ".join(map(repr, numbers))
        console.print(
            f"Left out, as a number of the rows or a pandas index: {names}. A model could learn the order of the "
            "rows from such a column. To use it all the same, pass --categorical NAME or --continuous NAME.\n",
            style="yellow",
            markup=False,
            highlight=False,
        )


def show_leaks(console: Console, sample: pl.DataFrame, guesses: Sequence[Guess]) -> None:
    """A warning for every feature that gives the target away."""
    for name, how in leaks(sample, guesses):
        console.print(
            f"Column {name!r} gives the target away: {how}. If it is made from the target, or known only after "
            "it, pass --drop with its name.\n",
            style="yellow",
            markup=False,
            highlight=False,
        )


def _columns(guesses: Sequence[Guess], rows: int) -> Any:
    lines = [
        (fact.name, str(fact.dtype), f"{fact.distinct:,}", f"{fact.nulls:,}", guess.role, guess.reason)
        for guess in guesses
        for fact in [guess.facts]
    ]
    header = ("column", "type", "distinct", "nulls", "role", "because")
    return table(f"{rows:,} rows", lines, header, right=("distinct", "nulls"))
