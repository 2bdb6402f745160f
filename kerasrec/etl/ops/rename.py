"""Rename: gives columns other names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kerasrec.etl.operator.elementwise import Elementwise
from kerasrec.schema import Column


@dataclass(repr=False)
class Rename(Elementwise):
    """Give columns other names; embedding tables keep theirs, and dtypes stay the same.

    NVTabular's `Rename` has a function `f`, `postfix` or (for one column) `name`, but neither dicts nor `prefix`.

    Args:
        names: new names by old ones; or a function of a name, called once when the graph is built; or, for a
            single column, its new name.
        prefix: put before every name that `names` does not change.
        postfix: put after every name that `names` does not change.

    Raises:
        ValueError: `names` has an unknown column, or is one name for several columns.

    Example:

    >>> logs = ["price"] >> LogOp() >> Rename(postfix="_log")
    >>> label = ["rating"] >> Target(threshold=4) >> Rename("liked")
    >>> lower = ["AGE", "City"] >> Rename(str.lower)
    """

    names: Mapping[str, str] | Callable[[str], str] | str = field(default_factory=dict)
    prefix: str = ""
    postfix: str = ""

    def output_names(self, names: list[str]) -> list[str]:
        if isinstance(self.names, str):
            if len(names) != 1:
                raise ValueError(f"Rename: {self.names!r} is one name for {', '.join(names)}; pass a dict")
            self.names = {names[0]: self.names}
        elif callable(self.names):
            self.names = {name: self.names(name) for name in names}
        unknown = sorted(set(self.names) - set(names))
        if unknown:
            raise ValueError(f"Rename: no column {', '.join(map(repr, unknown))}; available: {', '.join(names)}")
        return [self.names.get(name, f"{self.prefix}{name}{self.postfix}") for name in names]

    def output(self, columns: Sequence[Column]) -> list[Column]:
        renamed = self.names
        assert isinstance(renamed, Mapping)  # output_names was called before
        names = [renamed.get(column.name, f"{self.prefix}{column.name}{self.postfix}") for column in columns]
        return [column.evolve(name=name) for column, name in zip(columns, names, strict=True)]
