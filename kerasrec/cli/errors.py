"""Bad input is answered with one line; a bug keeps its traceback."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Refused(Exception):
    """What a user asked for cannot be done; the message says why in one line."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print errors about what a user gave as `error: ...` and leave with exit code 1."""
    try:
        yield
    except (Refused, OSError, ValueError, KeyError) as error:
        said = error.args[0] if isinstance(error, KeyError) and error.args else error
        sys.stderr.write("error: " + " ".join(str(said).split()) + "\n")
        raise SystemExit(1) from error


def close_to(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, or a list of them all.

    >>> close_to("usr", ["user", "item"])
    "; did you mean 'user'?"
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(known)}"
