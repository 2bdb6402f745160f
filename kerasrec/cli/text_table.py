"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

METRIC_NAMES = {"auc": "AUC", "logloss": "log loss", "rmse": "RMSE"}


def table(title: str, lines: Sequence[tuple[str, ...]], header: Sequence[str], right: Sequence[str]) -> Table:
    """Return a table of text, with the columns named in `right` aligned to the right; cells are not markup."""
    text_table = Table(
        title=Text(title),
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for name in header:
        text_table.add_column(name, justify="right" if name in right else "left", no_wrap=name != header[-1])
    for line in lines:
        text_table.add_row(*map(Text, line))
    return text_table


def duration(seconds: float) -> str:
    """Return a time as people write it: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    minutes, rest = divmod(rounded, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
