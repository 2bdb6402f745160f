"""Rename: other names for columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kerasrec.etl.ops.base import Elementwise
from kerasrec.schema import Column


@dataclass(repr=False)
class Rename(Elementwise):
    """Gives columns other names; a vocabulary keeps the name it has.

    Args:
        names: new names by old ones; columns that are not in it keep theirs.
        prefix, postfix: put before and after every name, of those columns that `names` does not hold.

    Example:

    >>> logs = ["price"] >> LogOp() >> Rename(postfix="_log")
    >>> label = ["rating"] >> Target(threshold=4) >> Rename({"rating": "liked"})
    """

    names: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    postfix: str = ""

    def output_names(self, names: list[str]) -> list[str]:
        unknown = sorted(set(self.names) - set(names))
        if unknown:
            raise ValueError(f"Rename: no columns {unknown}; there are: {', '.join(names)}")
        return [self.names.get(name, f"{self.prefix}{name}{self.postfix}") for name in names]

    def output(self, columns: Sequence[Column]) -> list[Column]:
        names = self.output_names([column.name for column in columns])
        return [column.evolve(name=name) for column, name in zip(columns, names, strict=True)]
