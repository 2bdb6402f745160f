"""Hive-partitioned folders: `train/day=3/shop=7/part-0.parquet` has two columns that its folders' names say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
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


def files(folder: Any) -> Iterator[Any]:
    """The files of a folder, and of its folders named `column=value`, by name; hidden ones are left out.

    Args:
        folder: a path, or anything that has its `iterdir`, `name` and `is_dir`.
    """
    for each in sorted(folder.iterdir(), key=lambda each: each.name):
        if each.name[0] in "._":
            continue
        if not each.is_dir():
            yield each
        elif is_partition(each.name):
            yield from files(each)
        elif each.name.endswith((".parquet", ".pq")):
            yield each  # a folder where a file should be, which whoever reads it refuses
