"""Hive-partitioned folders: `train/day=3/shop=7/part-0.parquet` has two columns in the names of its folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote

NULL = "__HIVE_DEFAULT_PARTITION__"  # as Hive, Spark, Polars and pyarrow spell it


class Folder(Protocol):
    """What is needed of a `pathlib.Path`, or of a file or a folder at an address."""

    @property
    def name(self) -> str: ...

    def is_dir(self) -> bool: ...

    def iterdir(self) -> Iterable[Any]: ...


AnyFolder = TypeVar("AnyFolder", bound=Folder)


def is_partition(name: str) -> bool:
    """Return whether a folder's name is `column=value`."""
    column, equals, _ = name.partition("=")
    return bool(column and equals)


def partitions(folders: Iterable[str]) -> dict[str, str | None]:
    """Return the columns and values, as text, in the names of folders, outermost first; None is a null.

    >>> partitions(["train", "day=3", "shop=a%2Fb", "size=__HIVE_DEFAULT_PARTITION__"])
    {'day': '3', 'shop': 'a/b', 'size': None}
    """
    values: dict[str, str | None] = {}
    for name in filter(is_partition, folders):
        column, _, value = name.partition("=")
        values[unquote(column)] = None if value == NULL else unquote(value)
    return values


def files(folder: AnyFolder) -> Iterator[AnyFolder]:
    """Yield the visible files of a folder and of its folders named `column=value`, ordered by name."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name[0] in "._":
            continue
        if not entry.is_dir():
            yield entry
        elif is_partition(entry.name):
            yield from files(entry)
        elif entry.name.endswith((".parquet", ".pq")):
            yield entry  # a folder in place of a file, which is refused when it is read
