"""The names of a SavedModel's inputs, which TensorFlow wants to be Python identifiers."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable


def wire_name(name: str) -> str:
    """Return `name` as a Python identifier, which TensorFlow requires of a signature's input.

    >>> [wire_name(name) for name in ("user_id", "user id", "50%", "class")]
    ['user_id', 'user_id', 'col_50_', 'col_class']
    """
    identifier = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if not identifier[:1].isalpha() or keyword.iskeyword(identifier) or identifier == "self":
        identifier = f"col_{identifier}"
    return identifier


def wire_names(names: Iterable[str]) -> dict[str, str]:
    """Return the wire name of each input of a signature.

    TensorFlow ignores case, so the names differ in more than that. Names that are identifiers already keep
    theirs; a number is appended to others that would be the same.

    >>> wire_names(["user id", "user_id", "User_ID"])
    {'user id': 'user_id_3', 'user_id': 'user_id', 'User_ID': 'User_ID_2'}
    """
    names = list(names)
    taken: set[str] = set()
    unique: dict[str, str] = {}
    for name in sorted(names, key=lambda name: wire_name(name) != name):  # a stable sort
        candidate, number = wire_name(name), 2
        while candidate.lower() in taken:
            candidate, number = f"{wire_name(name)}_{number}", number + 1
        taken.add(candidate.lower())
        unique[name] = candidate
    return {name: unique[name] for name in names}
