"""Downloads a file into memory and verifies it."""

from __future__ import annotations

import hashlib
from urllib.error import URLError
from urllib.request import urlopen


def fetch(url: str, instead: str, *, sha256: str | None = None) -> bytes:
    """Return the bytes at `url`.

    Args:
        instead: what to do without a connection, for the message.
        sha256: the digest that the bytes must have, in hexadecimal digits.

    Raises:
        ConnectionError: the download fails.
        ValueError: the bytes have another digest.
    """
    try:
        with urlopen(url, timeout=60) as response:
            content: bytes = response.read()
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise ConnectionError(f"cannot download {url}: {reason}. Without a connection, {instead}") from None
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and digest != sha256:
        raise ValueError(f"{url}: {len(content):,} bytes with SHA-256 {digest}; expected {sha256}")
    return content
