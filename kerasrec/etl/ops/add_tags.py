"""AddTags: whose features columns are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kerasrec.etl.operator.elementwise import Elementwise
from kerasrec.schema import Column, Tag

OFFERED = (Tag.USER, Tag.ITEM)


@dataclass(repr=False)
class AddTags(Elementwise):
    """Adds the tags "user" or "item" to columns; values stay as they are. What else a schema says of a column
    is set by the operators that make it so (`Categorify`, `Target`, ...).

    NVTabular's `AddTags` takes any tag; its `TagAsUserFeatures` and `TagAsItemFeatures` are these two.

    Raises:
        ValueError: another tag than these two.

    Example:

    >>> users = ["age", "city"] >> AddTags(["user"])
    """

    tags: Sequence[Tag | str]

    def __post_init__(self) -> None:
        self.tags = [self.tags] if isinstance(self.tags, str) else [str(tag) for tag in self.tags]
        if other := sorted(set(self.tags) - set(OFFERED)):
            raise ValueError(f"AddTags takes {', '.join(OFFERED)}; {', '.join(other)} cannot be set by hand")

    def column(self, column: Column) -> Column:
        return column.evolve(add_tags=self.tags)
