"""How many bytes numbers take in memory and between ranks, and byte counts as text."""

from __future__ import annotations

import re

WEIGHT_BYTES = {"float32": 4, "float64": 8}  # dtypes of tables and of their optimizer state
WIRE_BYTES = {"float32": 4, "float64": 8, "bfloat16": 2, "float16": 2}  # dtypes of vectors sent between ranks

_UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1))


def bytes_for(largest: int) -> int:
    """Return the fewest bytes that can hold every integer in [0, largest].

    >>> bytes_for(255), bytes_for(256)
    (1, 2)
    """
    return max(1, (int(largest).bit_length() + 7) // 8)


def parse_bytes(size: int | str, name: str = "memory") -> int:
    """Return a number of bytes that is given as a number or as text: "80GiB", "80 GB", "512MiB".

    Args:
        size: bytes; in text, GB is 1000**3 and GiB 1024**3 bytes.
        name: the argument's name, for the error message.

    Raises:
        ValueError: `size` is neither a positive number nor such a text.
    """
    if isinstance(size, str):
        match = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?)(i?)B?\s*", size, re.IGNORECASE)
        try:
            number = float(match[1]) if match else -1.0
        except ValueError:
            number = -1.0
        if match is not None and number > 0:
            return int(number * (1024 if match[3] else 1000) ** " KMGT".index(match[2].upper() or " "))
    elif size > 0:
        return int(size)
    raise ValueError(f"{name} must be a number of bytes > 0 or a text such as '80GiB'; got {size!r}")


def format_bytes(size: float) -> str:
    """Return a byte count as text, in the largest unit that fits.

    >>> format_bytes(3 * 2**29)
    '1.5 GiB'
    """
    unit, unit_bytes = largest_unit(size)
    return f"{three_digits(size / unit_bytes)} {unit}"


def largest_unit(size: float) -> tuple[str, int]:
    """Return the largest binary unit that is not above `size` bytes: its name and its bytes."""
    return next(((unit, unit_bytes) for unit, unit_bytes in _UNITS if size >= unit_bytes), _UNITS[-1])


def three_digits(number: float) -> str:
    """Return a number with three significant digits, or with all the digits of its integer part.

    >>> three_digits(0.12345), three_digits(12345.6)
    ('0.123', '12,346')
    """
    return f"{number:,.0f}" if number >= 99.95 else f"{number:.3g}"
