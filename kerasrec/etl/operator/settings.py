"""Settings that may be one value for all columns or a dict by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def setting(value: Any, name: str) -> Any:
    """What a setting, which may be a dict by name, says for `name`; None where it says nothing."""
    return value.get(name) if isinstance(value, Mapping) else value


def all_of(value: Any) -> list[Any]:
    """What a setting says, for whichever name."""
    return list(value.values()) if isinstance(value, Mapping) else [value]


def check_names(op: str, argument: str, value: Any, names: Sequence[str], *, all_of_them: bool = False) -> None:
    """Raise `ValueError` where a setting that is a dict names others than `names`, or not `all_of_them`."""
    if not isinstance(value, Mapping):
        return
    known = set(names)
    if unknown := [name for name in value if name not in known]:
        raise ValueError(f"{op}: {argument} names {unknown}, but the columns are: {', '.join(names)}")
    if all_of_them and (missing := [name for name in names if name not in value]):
        raise ValueError(f"{op}: {argument} says nothing of column {', '.join(map(repr, missing))}")
