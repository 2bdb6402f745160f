"""What columns of text may be besides names: times, lists in one string, numbers that were not read as such."""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

MAX_VALUES = 20_000  # of a column that are tried
_DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%d-%b-%Y", "%d %b %Y")
_CLOCKS = ("%H:%M:%S", "%H:%M", "%H:%M:%S.%f")
_MAY_BE_TIME = r"^\s*\d{1,4}[-/. ]([A-Za-z]{3}|\d{1,2})[-/. ]\d{1,4}"
SEPARATORS = ("|", ";", ",")
_COMMA = r"^\s*[+-]?(\d{1,3}(\.\d{3})+|\d+),\d+\s*$"
_GROUPED = r"^\s*[+-]?\d{1,3}(,\d{3})+(\.\d+)?\s*$"
_PLAIN = r"^\s*[+-]?\d+(\.\d+)?([eE][+-]?\d+)?\s*$"
_UNIT = r"^\s*[^\w\s]{0,3}\s*[+-]?\d+([.,]\d+)*\s*[^\d\s]{0,3}\s*$"


def time_formats(values: pl.Series) -> list[str]:
    """Return the formats by which all of some strings are times; several where day and month are ambiguous."""
    text = values.head(MAX_VALUES)
    if not len(text) or not text.str.contains(_MAY_BE_TIME).all():
        return []
    formats = []
    for day in _DAYS:
        for clock in (
            "",
            *(f"{between}{clock}{zone}" for between in " T" for clock in _CLOCKS for zone in ("", "Z")),
        ):
            parsed = text.str.strptime(pl.Datetime("us"), (day + clock).replace(".%f", "%.f"), strict=False)
            if not parsed.null_count():
                formats.append(day + clock)
                break
    return formats


def list_separator(values: pl.Series, separators: Sequence[str] = SEPARATORS) -> str | None:
    """Return the separator of strings that look like lists, "a|b|c"; None if they look like single values.

    They are lists if the separator is in at least a fifth of them, and if their elements repeat: there are at most
    as many as different strings, or half as many where the separator is one that prose has.
    """
    text = values.head(MAX_VALUES)
    if text.n_unique() < 4:
        return None
    for separator in separators:
        has = text.str.contains(separator, literal=True)
        if has.mean() < 0.2:  # type: ignore[operator]
            continue
        elements = text.str.split(separator).explode()
        spaced = elements.str.contains(r"^\s|\s$").mean() or 0.0  # as in "Lion King, The (1994)"
        prose = separator == "," and spaced > 0.1  # type: ignore[operator]
        repeated = text.n_unique() * (1 if separator == "|" else 0.5)
        if not prose and elements.n_unique() <= repeated:
            return separator
    return None


def contains(values: pl.Series, separator: str) -> bool:
    """Return whether a separator is in any string."""
    return bool(values.str.contains(separator, literal=True).any())


def number_note(values: pl.Series) -> str:
    """Return a note on strings that are numbers in disguise; "" for others."""
    text = values.head(MAX_VALUES)
    if not len(text) or not text.str.contains(r"\d").all() or text.str.contains(r"^0\d+$").any():
        return ""  # a zero at the start makes it a code
    if text.str.contains(_PLAIN).all():
        return "numbers stored as text; to use them as numbers, convert the column"
    for pattern, note in (
        (_COMMA, "numbers with decimal commas"),
        (_GROUPED, "numbers with commas between thousands"),
    ):
        if (text.str.contains(pattern).mean() or 0.0) > 0.95:  # type: ignore[operator]
            return f"{note}; to use them as numbers, convert the column"
    odd = text.filter(~text.str.contains(_PLAIN))
    if 0 < len(odd) <= 0.05 * len(text):
        return f"numbers, but for values such as {odd[0][:20]!r}; to use them as numbers, clean the column"
    if len(text) >= 20 and (text.str.contains(_UNIT).mean() or 0.0) > 0.95 and not _codes(text):  # type: ignore[operator]
        return "numbers with a unit; to use them as numbers, convert the column"
    return ""


def _codes(text: pl.Series) -> bool:
    """Return whether strings such as "c7" are codes rather than amounts: there is no space, sign or currency."""
    return not any(re.search(r"[\s$€£¥%.,]", value) for value in text.head(100))
