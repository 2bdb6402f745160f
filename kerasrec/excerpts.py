"""Values in error messages, at a length that can be read: one field of a file may be megabytes."""

from __future__ import annotations

from typing import Any

LENGTH = 200


def excerpt(value: Any) -> str:
    """A value as Python writes it, cut after 200 characters.

    >>> excerpt("x" * 3_000_000)[-30:]
    'xxxxxx... (3,000,002 in all)'
    """
    text = repr(value)
    return text if len(text) <= LENGTH else f"{text[:LENGTH]}... ({len(text):,} in all)"
