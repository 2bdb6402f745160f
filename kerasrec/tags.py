"""The tags of columns: the roles that the library knows, and those of a user's own."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import StrEnum


class Tag(StrEnum):
    """The role of a column.

    The first ones are set by the operators that make them true. The others describe a column, have the names that
    they have in Merlin, and are set with `etl.AddTags`. Any other string is a tag as well.
    """

    CATEGORICAL = "categorical"
    CONTINUOUS = "continuous"
    TARGET = "target"
    BINARY = "binary"  # a target of 0s and 1s
    REGRESSION = "regression"  # any other target
    LIST = "list"
    WEIGHT = "weight"  # of a row in the loss; neither a feature nor a target
    USER = "user"
    ITEM = "item"
    USER_ID = "user_id"
    ITEM_ID = "item_id"
    ID = "id"
    SESSION = "session"
    SESSION_ID = "session_id"
    CONTEXT = "context"
    TIME = "time"
    SEQUENCE = "sequence"
    TEXT = "text"
    TOKENIZED = "tokenized"
    EMBEDDING = "embedding"


_INHERITED = frozenset((Tag.USER, Tag.ITEM, Tag.SESSION, Tag.CONTEXT))


def as_tag(tag: str) -> str:
    """Return the `Tag` that `tag` names, or else the string itself.

    Raises:
        ValueError: it is empty or no string, or differs from a known tag by so little that it seems misspelt.
    """
    if not isinstance(tag, str) or not tag:
        raise ValueError(f"a tag must be a non-empty string; got {tag!r}")
    if tag in Tag.__members__.values():
        return Tag(tag)
    if near := difflib.get_close_matches(tag.lower(), list(Tag), n=1, cutoff=0.81):
        raise ValueError(f"unknown tag {tag!r}; did you mean {str(near[0])!r}? Known: {', '.join(Tag)}")
    return str(tag)


def inherited_tags(*columns: Iterable[str]) -> tuple[str, ...]:
    """Return which tags a column has that is computed from columns with these tags: those that all of them have
    and that say whom or what a column describes ("user", "context", a user's own), not what its values are
    ("categorical", "item_id", "time")."""
    shared = set.intersection(*(set(tags) for tags in columns))
    return tuple(sorted(tag for tag in shared if tag in _INHERITED or tag not in Tag.__members__.values()))
