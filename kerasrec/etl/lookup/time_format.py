"""Text to times by a format, in Polars and in TensorFlow: one regular expression, and the same arithmetic."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from kerasrec.etl.lookup.calendar import MONTHS, microseconds

if TYPE_CHECKING:
    import tensorflow as tf

ISO = "ISO8601"
SPACE = r"[ \t\n\v\f\r]"
OFFSET = r"([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)"
NUMBERS = {  # the directives of numbers, with the part that each one is and its number of digits
    "Y": ("year", "{4}"),
    "y": ("short_year", "{2}"),
    "m": ("month", "{1,2}"),
    "d": ("day", "{1,2}"),
    "H": ("hour", "{1,2}"),
    "I": ("half_hour", "{1,2}"),
    "M": ("minute", "{1,2}"),
    "S": ("second", "{1,2}"),
    "f": ("fraction", "{1,9}"),
}
SHORT = {"T": "%H:%M:%S", "F": "%Y-%m-%d", "D": "%m/%d/%y", "R": "%H:%M", "h": "%b", "e": "%d"}
_FULL = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
DIRECTIVES = [*NUMBERS, "b", "B", "a", "A", "p", "z", *SHORT, "%"]


@dataclass(frozen=True)
class TimeFormat:
    """A format, compiled.

    Attributes:
        pattern: a regular expression for RE2 and for Polars, of the complete text.
        parts: what its groups match, in order; at most nine, as RE2 has no more in a replacement.
    """

    pattern: str
    parts: tuple[str, ...]


@lru_cache
def compiled(format: str) -> TimeFormat:
    """Compile a format of `strptime`, or "ISO8601".

    Raises:
        ValueError: it has an unknown directive or one twice, or not a year at least.
    """
    if format == ISO:
        time = rf"([0-9]{{2}}):([0-9]{{2}})(?::([0-9]{{2}})(?:[.,]([0-9]{{1,9}}))?)?(?: ?{OFFSET})?"
        pattern = rf"^{SPACE}*([0-9]{{4}})-([0-9]{{2}})-([0-9]{{2}})(?:[Tt ]{time})?{SPACE}*$"
        return TimeFormat(pattern, ("year", "month", "day", "hour", "minute", "second", "fraction", "offset"))
    tokens = _tokens(format)
    pattern, parts = "", []
    for i, token in enumerate(tokens):
        text, part = _pattern(tokens, i) if token.startswith("%") else (_literal(token), None)
        pattern += text
        if part is not None:
            parts.append(part)
    _check(format, parts)
    return TimeFormat(f"^{SPACE}*{pattern}{SPACE}*$", tuple(parts))


def _tokens(format: str) -> list[str]:
    """Split a format into directives and characters, with the directives that stand for several replaced."""
    for letter, expanded in SHORT.items():
        format = re.sub(rf"(?<!%)((?:%%)*)%{letter}", rf"\g<1>{expanded}", format)
    tokens = re.findall(r"%.|\s+|.|%", format, re.DOTALL)
    if unknown := [token for token in tokens if token.startswith("%") and token[1:] not in DIRECTIVES]:
        known = ", ".join(f"%{letter}" for letter in DIRECTIVES)
        raise ValueError(f"format {format!r}: unknown directive {unknown[0]!r}; available: {known}")
    return tokens


def _pattern(tokens: list[str], at: int) -> tuple[str, str | None]:
    """Return the regular expression of a directive, and the part that it matches."""
    letter = tokens[at][1]
    if letter in NUMBERS:
        part, digits = NUMBERS[letter]
        beside = tokens[max(at - 1, 0) : at] + tokens[at + 1 : at + 2]
        if digits == "{1,2}" and any(token.startswith("%") and token[1:] in NUMBERS for token in beside):
            digits = "{2}"  # as in %Y%m%d, which would be ambiguous otherwise
        return f"([0-9]{digits})", part
    if letter in "bB":
        return f"({_words([*_FULL, *MONTHS])})", "month_name"
    if letter in "aA":
        return f"(?:{_words([*_DAYS, *(day[:3] for day in _DAYS)])})", None
    if letter == "p":
        return "([AaPp][Mm])", "afternoon"
    return (OFFSET, "offset") if letter == "z" else ("%", None)


def _words(words: list[str]) -> str:
    """Return a regular expression of words in any case; only that of ASCII, not of all that Unicode folds."""
    return "|".join("".join(f"[{letter.upper()}{letter}]" for letter in word) for word in words)


def _literal(text: str) -> str:
    return f"{SPACE}+" if text.isspace() else re.escape(text)


def _check(format: str, parts: list[str]) -> None:
    names = [{"short_year": "year", "month_name": "month", "half_hour": "hour"}.get(part, part) for part in parts]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"format {format!r} has the {twice[0]} twice")
    missing = {
        "year": "year" not in names,
        "month": "day" in names and "month" not in names,
        "%p": "half_hour" in parts and "afternoon" not in parts,
        "%I": "afternoon" in parts and "half_hour" not in parts,
    }
    if any(missing.values()):
        raise ValueError(f"format {format!r} has no {next(name for name in missing if missing[name])}")


# ---- Polars --------------------------------------------------------------------------------------------------
def parse(text: pl.Series, format: str) -> pl.Series:
    """Return the microseconds since 1970 of strings; null for one that is not in the format.

    It takes a series rather than an expression, as Polars would compute common parts of the expression again and
    again.
    """
    known = compiled(format)
    groups = text.alias("").str.extract_groups(known.pattern).struct.unnest()
    parts: dict[str, np.ndarray] = {}
    for part, group in zip(known.parts, groups.get_columns(), strict=True):
        if part == "month_name":
            numbers = {name: number for number, name in enumerate(MONTHS, 1)}
            name = group.str.slice(0, 3).str.to_lowercase()
            parts["month"] = _numbers(name.replace_strict(numbers, default=None, return_dtype=pl.Int64))
        elif part == "fraction":
            parts["microsecond"] = _numbers((group.fill_null("") + "000000").str.slice(0, 6))
        elif part == "afternoon":
            parts[part] = _numbers(group.str.to_lowercase() == "pm")
        elif part == "offset":
            offset = group.fill_null("").str.replace(":", "", literal=True) + "000000"
            parts["offset_sign"] = 1 - 2 * _numbers(offset.str.starts_with("-"))
            parts["offset_hour"] = _numbers(offset.str.slice(1, 2))
            parts["offset_minute"] = _numbers(offset.str.slice(3, 2))
        else:
            parts[part] = _numbers(group)
    time, valid = microseconds(parts)
    matches = groups.to_series(0).is_not_null() if groups.width else text.is_null()
    return pl.Series(text.name, time).set(~(matches & pl.Series(valid)), None)


def _numbers(group: pl.Series) -> np.ndarray:
    return group.cast(pl.Int64, strict=False).fill_null(0).to_numpy()


# ---- TensorFlow ----------------------------------------------------------------------------------------------
def parse_tensor(text: tf.Tensor, format: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the same of a tensor (n,) of strings: (n,) int64, and (n,) bool, false where it is not in the
    format."""
    import tensorflow as tf

    known = compiled(format)
    matches = tf.strings.regex_full_match(text, known.pattern)
    # The groups with commas between them; a first one that is never empty, as TensorFlow splits "" into nothing.
    groups = tf.strings.regex_replace(text, known.pattern, _rewrite(known), replace_global=False)
    groups = tf.where(matches, groups, "0" + "," * len(known.parts))
    columns = tf.reshape(tf.strings.split(groups, ",").values, [-1, len(known.parts) + 1])

    def number(group: tf.Tensor) -> tf.Tensor:
        return tf.strings.to_number(tf.where(group == "", "0", group), tf.int64)

    parts: dict[str, tf.Tensor] = {}
    for i, part in enumerate(known.parts, 1):
        group = columns[:, i]
        if part == "month_name":
            same = tf.strings.lower(tf.strings.substr(group + "   ", 0, 3))[:, None] == tf.constant(MONTHS)
            parts["month"] = tf.argmax(same, axis=1, output_type=tf.int64) + 1
        elif part == "fraction":
            parts["microsecond"] = number(tf.strings.substr(group + "000000", 0, 6))
        elif part == "afternoon":
            parts[part] = tf.cast(tf.strings.lower(group) == "pm", tf.int64)
        elif part == "offset":
            offset = tf.strings.regex_replace(group, ":", "") + "000000"
            parts["offset_sign"] = 1 - 2 * tf.cast(tf.strings.substr(offset, 0, 1) == "-", tf.int64)
            parts["offset_hour"] = number(tf.strings.substr(offset, 1, 2))
            parts["offset_minute"] = number(tf.strings.substr(offset, 3, 2))
        else:
            parts[part] = number(group)
    time, valid = microseconds(parts)
    return time, tf.logical_and(matches, valid)


def _rewrite(known: TimeFormat) -> str:
    return "0" + "".join(rf",\{i}" for i in range(1, len(known.parts) + 1))
