"""Names of columns in an option."""

from __future__ import annotations

import csv


def column_names(line: str) -> list[str]:
    """Return the names in a line of CSV; empty names and names with commas are in double quotes.

    >>> column_names('user, "price, USD"')
    ['user', 'price, USD']
    """
    if not line.strip():
        return []
    return [name for name in next(csv.reader([line], skipinitialspace=True)) if name or '""' in line]
