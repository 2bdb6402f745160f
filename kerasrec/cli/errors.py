"""Bad input is answered with one line; a bug keeps its traceback."""

from __future__ import annotations

import difflib
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from kerasrec.files.addresses import hide_secrets
from kerasrec.schema import SchemaError


class Refused(Exception):
    """What a user asked for cannot be done; the message says why in one line."""


@contextmanager
def one_line_errors(debug: bool = False) -> Iterator[None]:
    """Print what is wrong with a user's input as `error: ...` and exit with code 1, or show its traceback."""
    try:
        yield
    except (Refused, OSError, ValueError) as error:
        if debug or (isinstance(error, ValueError) and not _is_ours(error)):
            raise
        sys.stderr.write("error: " + " ".join(hide_secrets(error).split()) + "\n")
        raise SystemExit(1) from error


@contextmanager
def naming_flag(flag: str | None) -> Iterator[None]:
    """Refuse what cannot be read by the flag that named it; without one errors stay as they are."""
    try:
        yield
    except (SchemaError, FileNotFoundError) as error:
        if flag is None:
            raise
        raise Refused(f"{flag}: {error}") from error


def _is_ours(error: BaseException) -> bool:
    """Whether kerasrec itself raised it: such a ValueError is about the input, anybody else's is a bug of ours."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1].f_globals.get("__name__")).startswith("kerasrec.")


def close_to(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, or a list of them all.

    >>> close_to("usr", ["user", "item"])
    "; did you mean 'user'?"
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(known)}"
