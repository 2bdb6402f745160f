"""Settings that may be one value for all columns, or a dict by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def setting_for(value: Any, name: str) -> Any:
    """Return the setting for `name`; None where a dict does not have it."""
    return value.get(name) if isinstance(value, Mapping) else value


def setting_values(value: Any) -> list[Any]:
    """Return all values of a setting, whatever columns they are for."""
    return list(value.values()) if isinstance(value, Mapping) else [value]


def check_names(op: str, argument: str, value: Any, names: Sequence[str], *, required: bool = False) -> None:
    """Raise `ValueError` where a setting that is a dict has other keys than `names`, or lacks one that is
    `required`."""
    if not isinstance(value, Mapping):
        return
    known = set(names)
    if unknown := [name for name in value if name not in known]:
        unknown_names = ", ".join(map(repr, unknown))
        raise ValueError(f"{op}: {argument}: no column {unknown_names}; available: {', '.join(names)}")
    if required and (missing := [name for name in names if name not in value]):
        raise ValueError(f"{op}: {argument} has no entry for column {', '.join(map(repr, missing))}; add one")


def as_tuple(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return one name or several as a tuple."""
    return (names,) if isinstance(names, str) else tuple(names)
