"""AddTags: marks columns as features of the user or of the item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kerasrec.etl.operator.elementwise import Elementwise
from kerasrec.schema import Column, Tag

ALLOWED = (Tag.USER, Tag.ITEM)


@dataclass(repr=False)
class AddTags(Elementwise):
    """Add the tags "user" or "item" to columns.

    Values and dtypes stay the same. All other entries of a schema are set by the operator that makes them
    true (`Categorify`, `Target`, ...). NVTabular's `AddTags` takes any tag; its `TagAsUserFeatures` and
    `TagAsItemFeatures` are `AddTags("user")` and `AddTags("item")`.

    Args:
        tags: "user", "item", or both.

    Raises:
        ValueError: another tag.

    Example:

    >>> users = ["age", "city"] >> AddTags(["user"])
    """

    tags: Sequence[Tag | str]

    def __post_init__(self) -> None:
        self.tags = [self.tags] if isinstance(self.tags, str) else [str(tag) for tag in self.tags]
        if other := sorted(set(self.tags) - set(ALLOWED)):
            raise ValueError(f"AddTags: tags must be of {', '.join(ALLOWED)}; got {', '.join(other)}")

    def column(self, column: Column) -> Column:
        return column.evolve(add_tags=self.tags)
