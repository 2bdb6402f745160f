"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

NAMES = {"auc": "AUC", "logloss": "log loss", "rmse": "RMSE"}


def table(title: str, lines: Sequence[tuple[str, ...]], header: Sequence[str]) -> Table:
    """A table whose columns after the first are numbers."""
    built = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for k, name in enumerate(header):
        built.add_column(name, justify="right" if k else "left")
    for line in lines:
        built.add_row(*line)
    return built
