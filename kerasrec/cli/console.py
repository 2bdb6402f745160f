"""The console that a command prints to."""

from __future__ import annotations

import os
import sys

from rich.console import Console

PIPED_WIDTH = 1_000  # a line per row of a table, which other programs can search


def make_console(quiet: bool = False) -> Console:
    """Return a console as wide as the terminal; where the output is piped, so wide that nothing is wrapped.

    Args:
        quiet: print nothing, as all ranks of a job but the first.
    """
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=PIPED_WIDTH if piped else None, quiet=quiet)
