"""Ids with power-law frequencies, as in real logs, and codes for them that do not reveal their rank."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_HEAD = 1 << 14  # ranks whose probabilities are summed one by one; after them an integral is accurate to 1e-9


class Zipf:
    """A truncated power law over `size` ranks: P(r) proportional to (r + 1) ** -exponent, r = 0 ... size - 1.

    It is sampled by the inverse of its distribution function, so the last rank is not too frequent, as with
    `minimum(zipf(a), size - 1)`. Memory does not grow with `size`.

    Args:
        size: the number of ranks, at most 2 ** 32.
        exponent: the slope; 0 is uniform, 1 is Zipf's law.
    """

    def __init__(self, size: int, exponent: float):
        if not 1 <= size <= 1 << 32:
            raise ValueError(f"size must be from 1 to 2**32 ranks; got {size}")
        self.size = size
        self._head = min(size, _HEAD)
        self._power = 1.0 - exponent
        head = np.cumsum(np.arange(1, self._head + 1, dtype=np.float64) ** -exponent)
        self._low, self._high = self._primitive(self._head + 0.5), self._primitive(size + 0.5)
        self._cdf = head / (head[-1] + self._high - self._low)

    def _primitive(self, x: float) -> float:
        """Return the integral of x ** -exponent."""
        return np.log(x) if self._power == 0 else x**self._power / self._power

    def __call__(self, uniform: NDArray[np.floating]) -> NDArray[np.int64]:
        """Convert uniform numbers in [0, 1) to ranks."""
        ranks = np.searchsorted(self._cdf, uniform, side="right")
        (tail,) = np.nonzero(ranks == self._head)
        if self.size == self._head:  # only by rounding
            ranks[tail] = self.size - 1
        elif tail.size:
            share = (uniform[tail] - self._cdf[-1]) / (1 - self._cdf[-1])
            area = self._low + share * (self._high - self._low)
            x = np.exp(area) if self._power == 0 else (area * self._power) ** (1 / self._power)
            ranks[tail] = np.clip(np.rint(x) - 1, self._head, self.size - 1)
        return ranks


def scramble(ranks: NDArray[np.integer], salt: int) -> NDArray[np.uint32]:
    """Permute 32-bit numbers pseudo-randomly (the finaliser of MurmurHash3)."""
    x = ranks.astype(np.uint32) ^ np.uint32(salt * 0x9E3779B9 & 0xFFFFFFFF)
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))


def unit(ranks: NDArray[np.integer], salt: int) -> NDArray:
    """Return a fixed pseudo-random number in (0, 1) per rank, for attributes of an id."""
    return (scramble(ranks, salt) + 0.5) / 2.0**32


def codes(ranks: NDArray[np.integer], salt: int, prefix: str = "") -> pa.DictionaryArray:
    """Return a distinct name per rank, such as `u_7f00af31`: a prefix and eight hexadecimal digits."""
    distinct, index = np.unique(ranks, return_inverse=True)
    nibbles = scramble(distinct, salt)[:, None] >> np.arange(28, -1, -4, dtype=np.uint32) & np.uint32(15)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)[nibbles]
    start = np.broadcast_to(np.frombuffer(prefix.encode(), np.uint8), (len(distinct), len(prefix.encode())))
    text = np.hstack([start, digits])
    offsets = np.arange(len(distinct) + 1, dtype=np.int32) * text.shape[1]
    names = pa.StringArray.from_buffers(len(distinct), pa.py_buffer(offsets), pa.py_buffer(text.tobytes()))
    return pa.DictionaryArray.from_arrays(pa.array(index.astype(np.int32)), names)
