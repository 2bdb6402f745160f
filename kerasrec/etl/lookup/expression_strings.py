"""Polars' functions of strings and of times, in TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kerasrec.etl.lookup.calendar import of_days

if TYPE_CHECKING:
    import tensorflow as tf

# The white space of Unicode, which Polars strips.
SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
PLAIN = re.compile(r"[\w @#%&_=:;,<>!~'\"/.*+?|()^$-]*", re.ASCII)  # what regular expressions have in common
DAY = 86_400_000_000
Function = Callable[..., "tf.Tensor"]


class UnsupportedError(ValueError):
    """A part of an expression that has no TensorFlow implementation."""


def string_function(name: str, options: Any, arguments: list[Any]) -> Function:
    """Return the function of (n,) strings that Polars calls `name`; it computes valid ones only.

    Args:
        arguments: the values of the further arguments, all literals; None for a null.
    """
    import tensorflow as tf

    simple: dict[str, Function] = {
        "LenChars": lambda x: tf.strings.length(x, unit="UTF8_CHAR"),
        "LenBytes": tf.strings.length,
        "StartsWith": lambda x: tf.strings.regex_full_match(x, f"(?s:{re.escape(arguments[0])}.*)"),
        "EndsWith": lambda x: tf.strings.regex_full_match(x, f"(?s:.*{re.escape(arguments[0])})"),
        # Letters that Unicode has since 2020 keep their case.
        "Lowercase": lambda x: tf.strings.lower(x, encoding="utf-8"),
        "Uppercase": lambda x: tf.strings.upper(x, encoding="utf-8"),
        "Slice": lambda x: _slice(x, *arguments),
        "Head": lambda x: _slice(x, 0, *arguments),
        "StripChars": lambda x: tf.strings.regex_replace(x, _ends(arguments[0]), ""),
    }
    if name in ("Slice", "Head") and not _is_slice([0, *arguments] if name == "Head" else arguments):
        raise UnsupportedError(f"str.{name.lower()}{tuple(arguments)}")
    if name == "Contains":
        return _contains(arguments[0], options["literal"])
    if name == "Replace" and options["literal"] and options["n"] in (1, -1):
        old, new = re.escape(arguments[0]), arguments[1].replace("\\", "\\\\")
        everywhere = options["n"] == -1
        if arguments[0]:
            return lambda x: tf.strings.regex_replace(x, old, new, replace_global=everywhere)
    if name not in simple:
        raise UnsupportedError(f"str.{_snake(name)}")
    return simple[name]


def _is_slice(arguments: list[Any]) -> bool:
    """Return whether strings are sliced from their beginning, or up to their end, by literals."""
    offset, length = arguments
    return isinstance(offset, int) and (offset >= 0 or length is None) and (length is None or length >= 0)


def _slice(x: tf.Tensor, offset: int, length: int | None) -> tf.Tensor:
    import tensorflow as tf

    size = tf.strings.length(x, unit="UTF8_CHAR")
    begin = tf.minimum(size, offset) if offset >= 0 else tf.maximum(size + offset, 0)
    kept = size - begin if length is None else tf.minimum(size - begin, length)
    # With one more character, as a position at the end of a string is an error.
    return tf.strings.substr(x + " ", begin, kept, unit="UTF8_CHAR")


def _ends(characters: str | None) -> str:
    of = SPACES if characters is None else re.escape(characters)
    return f"^[{of}]+|[{of}]+$" if of else "^$"


def _contains(pattern: str, literal: bool) -> Function:
    import tensorflow as tf

    if literal:
        pattern = re.escape(pattern)
    elif not PLAIN.fullmatch(pattern) or "(?" in pattern:
        raise UnsupportedError(f"str.contains({pattern!r}), a regular expression")
    return lambda x: tf.strings.regex_full_match(x, f"(?s:.*)(?:{pattern})(?s:.*)")


def time_function(name: str) -> Function:
    """Return the function of (n,) int64 microseconds since 1970 that Polars calls `name`."""
    of_day: Mapping[str, tuple[int, int]] = {
        "Hour": (DAY // 24, 24),
        "Minute": (DAY // 24 // 60, 60),
        "Second": (1_000_000, 60),
    }
    if name in of_day:
        unit, count = of_day[name]
        return lambda x: x // unit - x // unit // count * count
    if name == "WeekDay":  # 1 is Monday
        return lambda x: of_days("weekday", x // DAY) + 1
    if name == "Quarter":
        return lambda x: (of_days("month", x // DAY) + 2) // 3
    if name in ("Day", "Month", "Year"):
        return lambda x: of_days(name.lower(), x // DAY)
    raise UnsupportedError(f"dt.{_snake(name)}")


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
