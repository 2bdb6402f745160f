"""`public_names`: what a package shows to `dir()` and tab completion, imported when it is first used."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def public_names(
    package: str, names: Sequence[str], homes: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a package's `__getattr__` and `__dir__`: `dir()` is `names`, and a name is imported from its home.

    Args:
        package: the package's name.
        names: its `__all__`.
        homes: of names that are not imported with the package the module that defines them, or
            "module:name" if the name there is another. A sub-package is its own home.

    Example:

    >>> __getattr__, __dir__ = public_names(__name__, __all__, {"Loader": "kerasrec.data.loader"})
    """
    by_name = dict(homes or {})

    def get(name: str) -> Any:
        if name not in by_name:
            raise AttributeError(f"module {package!r} has no attribute {name!r}{_suggestion(name, names)}")
        home, _, original = by_name[name].partition(":")
        module = importlib.import_module(home)
        return module if home == f"{package}.{name}" else getattr(module, original or name)

    return get, lambda: sorted(names)


def _suggestion(name: str, names: Sequence[str]) -> str:
    """Return the nearest public name to a mistyped one as the end of a message; empty if none is near."""
    if name.startswith("__"):
        return ""
    by_lower = {each.lower(): each for each in names}
    close = difflib.get_close_matches(name.lower(), by_lower, 1)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""
