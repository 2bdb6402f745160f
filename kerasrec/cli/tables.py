"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

NAMES = {"auc": "AUC", "logloss": "log loss", "rmse": "RMSE"}


def table(title: str, lines: Sequence[tuple[str, ...]], header: Sequence[str], right: Sequence[str]) -> Table:
    """A table; the columns named in `right`, numbers, end at one line. Brackets in cells are not rich's markup."""
    built = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for name in header:
        built.add_column(name, justify="right" if name in right else "left", no_wrap=name != header[-1])
    for line in lines:
        built.add_row(*map(Text, line))
    return built
