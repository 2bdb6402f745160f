"""Shortens values in error messages: one field of a file may be megabytes long."""

from __future__ import annotations

from typing import Any

MAX_LENGTH = 200


def excerpt(value: Any) -> str:
    """Return the `repr` of a value, cut after 200 characters.

    >>> excerpt("x" * 3_000_000)[-27:]
    '... (3,000,002 characters)'
    """
    text = repr(value)
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}... ({len(text):,} characters)"
