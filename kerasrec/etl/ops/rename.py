"""Rename: other names for columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kerasrec.etl.operator.elementwise import Elementwise
from kerasrec.schema import Column


@dataclass(repr=False)
class Rename(Elementwise):
    """Gives columns other names; a vocabulary keeps the name it has.

    NVTabular's `Rename` takes a function `f`, `postfix` or (for one column) `name`; dicts and `prefix` are ours.

    Args:
        names: new names by old ones, where columns that are not in it keep theirs; or a function of a name, called
            once, when the graph is drawn; or, of one column alone, its new name.
        prefix, postfix: put before and after every name, of those columns that `names` does not hold.

    Raises:
        ValueError: `names` holds a column that is not there, or is one name for several columns.

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
                raise ValueError(f"Rename: {self.names!r} is one name, but there are columns {', '.join(names)}")
            self.names = {names[0]: self.names}
        elif callable(self.names):
            self.names = {name: self.names(name) for name in names}
        unknown = sorted(set(self.names) - set(names))
        if unknown:
            raise ValueError(f"Rename: no columns {unknown}; available: {', '.join(names)}")
        return [self.names.get(name, f"{self.prefix}{name}{self.postfix}") for name in names]

    def output(self, columns: Sequence[Column]) -> list[Column]:
        given = self.names
        assert isinstance(given, Mapping)  # the graph asked for the names before
        names = [given.get(column.name, f"{self.prefix}{column.name}{self.postfix}") for column in columns]
        return [column.evolve(name=name) for column, name in zip(columns, names, strict=True)]
