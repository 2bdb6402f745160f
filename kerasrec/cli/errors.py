"""Errors of a command: one line for bad input, a traceback for a bug."""

from __future__ import annotations

import difflib
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from kerasrec.files.addresses import hide_secrets
from kerasrec.schema import SchemaError


class CommandError(Exception):
    """The command cannot do what it was asked to; the message says why in one line."""


@contextmanager
def one_line_errors(debug: bool = False) -> Iterator[None]:
    """Print what is wrong with the input as `error: ...` and exit with code 1; with `debug`, raise instead."""
    try:
        yield
    except (CommandError, OSError, ValueError) as error:
        if debug or not shown_in_one_line(error):
            raise
        sys.stderr.write(f"error: {one_line(error)}\n")
        raise SystemExit(1) from error


def shown_in_one_line(error: BaseException) -> bool:
    """Return whether an error is about the input, so that its message is enough."""
    return isinstance(error, CommandError | OSError) or (
        isinstance(error, ValueError) and _raised_by_kerasrec(error)
    )


def one_line(error: BaseException) -> str:
    """Return an error's message in one line, without secrets."""
    return " ".join(hide_secrets(str(error)).split())


@contextmanager
def flag_in_errors(flag: str | None) -> Iterator[None]:
    """Prefix errors about data with the option that named it; None leaves them as they are."""
    try:
        yield
    except (SchemaError, FileNotFoundError) as error:
        if flag is None:
            raise
        raise CommandError(f"{flag}: {error}") from error


def _raised_by_kerasrec(error: BaseException) -> bool:
    """Return whether kerasrec raised the error: it is then about the input; from a library it is a bug of ours."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1].f_globals.get("__name__")).startswith("kerasrec.")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known name, or all of them.

    >>> did_you_mean("usr", ["user", "item"])
    "; did you mean 'user'?"
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; available: {', '.join(known)}"
