"""Hive-partitioned folders: `train/day=3/shop=7/part-0.parquet` has two columns that its folders' names say."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

NULL = "__HIVE_DEFAULT_PARTITION__"  # as Hive, Spark, Polars and pyarrow spell it


def is_partition(name: str) -> bool:
    """Whether a folder's name is `column=value`."""
    column, equals, _ = name.partition("=")
    return bool(column and equals)


def partitions(folders: Iterable[str]) -> dict[str, str | None]:
    """Columns and values, as text, that the names of some folders say, outermost first; None is a null.

    >>> partitions(["train", "day=3", "shop=a%2Fb", "size=__HIVE_DEFAULT_PARTITION__"])
    {'day': '3', 'shop': 'a/b', 'size': None}
    """
    found: dict[str, str | None] = {}
    for name in filter(is_partition, folders):
        column, _, value = name.partition("=")
        found[unquote(column)] = None if value == NULL else unquote(value)
    return found
