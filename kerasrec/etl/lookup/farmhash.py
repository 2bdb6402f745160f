"""FarmHash's Fingerprint64 of many strings at once, in NumPy.

Source: G. Pike, FarmHash, 2014. `Fingerprint64` is the part of it that never changes and is the same on all
machines; `tf.strings.to_hash_bucket_fast`, `tf.fingerprint` and BigQuery's FARM_FINGERPRINT compute it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

K0, K1, K2 = (np.uint64(k) for k in (0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F))
ROWS = 16_384  # hashed at a time, so that intermediate arrays stay in the cache


def fingerprint64(data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Words:
    """Return the fingerprints (n,) of the byte strings `data[starts[i]:starts[i] + lengths[i]]`."""
    fingerprints = np.empty(len(starts), np.uint64)
    data = np.concatenate([data, np.zeros(8, np.uint8)])  # 8 bytes are read from wherever a string begins
    for first in range(0, len(starts), ROWS):
        rows = slice(first, first + ROWS)
        fingerprints[rows] = _hash(_Bytes(data), starts[rows], lengths[rows])
    return fingerprints


class _Bytes:
    """Reads little-endian integers at any position of `data`."""

    def __init__(self, data: NDArray[np.uint8]):
        self.data = data
        self.words: Any = np.ndarray((len(data) - 7,), "<u8", data, strides=(1,))
        self.halves: Any = np.ndarray((len(data) - 3,), "<u4", data, strides=(1,))

    def fetch(self, at: NDArray[np.int64]) -> Words:
        return self.words[at]

    def fetch32(self, at: NDArray[np.int64]) -> Words:
        return self.halves[at].astype(np.uint64)

    def byte(self, at: NDArray[np.int64]) -> Words:
        return self.data[at].astype(np.uint64)


def _hash(data: _Bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Words:
    kinds = np.searchsorted([1, 4, 8, 17, 33, 65], lengths, side="right")
    if (kinds == kinds[:1]).all():  # usual for hexadecimal strings
        return _BY_LENGTH[kinds[0]](data, starts, lengths)
    fingerprints = np.empty(len(starts), np.uint64)
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        fingerprints[rows] = _BY_LENGTH[kind](data, starts[rows], lengths[rows])
    return fingerprints


def _u64(x: Any) -> Words:
    return x.astype(np.uint64)


def _rotate(x: Words, by: int) -> Words:
    return (x >> np.uint64(by)) | (x << np.uint64(64 - by))


def _mix(x: Words) -> Words:
    return x ^ (x >> np.uint64(47))


def _join(u: Words, v: Words, mul: Words) -> Words:
    a = _mix((u ^ v) * mul)
    return _mix((v ^ a) * mul) * mul


def _multiplier(n: NDArray[np.int64]) -> Words:
    return K2 + _u64(2 * n)


def _length_0(data: _Bytes, s: NDArray[np.int64], n: NDArray[np.int64]) -> Words:
    return np.full(len(s), K2)


def _length_1_to_3(data: _Bytes, s: NDArray[np.int64], n: NDArray[np.int64]) -> Words:
    y = data.byte(s) + (data.byte(s + (n >> 1)) << np.uint64(8))
    z = _u64(n) + (data.byte(s + n - 1) << np.uint64(2))
    return _mix(y * K2 ^ z * K0) * K2


def _length_4_to_7(data: _Bytes, s: NDArray[np.int64], n: NDArray[np.int64]) -> Words:
    a = _u64(n) + (data.fetch32(s) << np.uint64(3))
    return _join(a, data.fetch32(s + n - 4), _multiplier(n))


def _length_8_to_16(data: _Bytes, s: NDArray[np.int64], n: NDArray[np.int64]) -> Words:
    mul, a, b = _multiplier(n), data.fetch(s) + K2, data.fetch(s + n - 8)
    return _join(_rotate(b, 37) * mul + a, (_rotate(a, 25) + b) * mul, mul)


def _length_17_to_32(data: _Bytes, s: NDArray[np.int64], n: NDArray[np.int64]) -> Words:
    mul = _multiplier(n)
    u, v, _, _ = _ends(data, s, n, mul, K1)
    return _join(u, v, mul)


def _length_33_to_64(data: _Bytes, s: NDArray[np.int64], n: NDArray[np.int64]) -> Words:
    mul = _multiplier(n)
    y, v, a, _ = _ends(data, s, n, mul, K2)
    z = _join(y, v, mul)
    e, f = data.fetch(s + 16) * mul, data.fetch(s + 24)
    g, h = (y + data.fetch(s + n - 32)) * mul, (z + data.fetch(s + n - 24)) * mul
    return _join(_rotate(e + f, 43) + _rotate(g, 30) + h, e + _rotate(f + a, 18) + g, mul)


def _ends(
    data: _Bytes, s: NDArray[np.int64], n: NDArray[np.int64], mul: Words, k: np.uint64
) -> tuple[Words, Words, Words, Words]:
    """Mix the first and the last 16 bytes."""
    a, b = data.fetch(s) * k, data.fetch(s + 8)
    c, d = data.fetch(s + n - 8) * mul, data.fetch(s + n - 16) * K2
    return _rotate(a + b, 43) + _rotate(c, 30) + d, a + _rotate(b + K2, 18) + c, a, b


def _longer(data: _Bytes, s: NDArray[np.int64], n: NDArray[np.int64]) -> Words:
    """Hash strings of more than 64 bytes, block by block, each time those that have another block."""
    seed, zero = np.full(len(s), 81, np.uint64), np.zeros(len(s), np.uint64)
    x = seed * K2 + data.fetch(s)
    y = seed * K1 + np.uint64(113)
    z = _mix(y * K2 + np.uint64(113)) * K2
    state: tuple[Words, ...] = (x, y, z, zero, zero, zero, zero)
    blocks = (n - 1) // 64
    for block in range(int(blocks.max())):
        rows = np.flatnonzero(blocks > block)
        after = _block(data, s[rows] + 64 * block, tuple(words[rows] for words in state), K1, np.uint64(1))
        state = tuple(_put(words, rows, new) for words, new in zip(state, after, strict=True))
    x, y, z, v0, v1, w0, w1 = state
    mul = K1 + ((z & np.uint64(0xFF)) << np.uint64(1))
    w0 = w0 + _u64((n - 1) & 63)
    v0 = v0 + w0
    w0 = w0 + v0
    x, y, z, v0, v1, w0, w1 = _block(data, s + n - 64, (x, y, z, v0, v1, w0, w1), mul, np.uint64(9))
    return _join(_join(v0, w0, mul) + _mix(y) * K0 + z, _join(v1, w1, mul) + x, mul)


def _block(
    data: _Bytes, s: NDArray[np.int64], state: tuple[Words, ...], mul: Words | np.uint64, times: np.uint64
) -> tuple[Words, ...]:
    x, y, z, v0, v1, w0, w1 = state
    x = _rotate(x + y + v0 + data.fetch(s + 8), 37) * mul
    y = _rotate(y + v1 + data.fetch(s + 48), 42) * mul
    x = x ^ (w1 * times)
    y = y + v0 * times + data.fetch(s + 40)
    z = _rotate(z + w0, 33) * mul
    v0, v1 = _weak(data, s, v1 * mul, x + w0)
    w0, w1 = _weak(data, s + 32, z + w1, y + data.fetch(s + 16))
    return z, y, x, v0, v1, w0, w1


def _weak(data: _Bytes, s: NDArray[np.int64], a: Words, b: Words) -> tuple[Words, Words]:
    first, last = data.fetch(s), data.fetch(s + 24)
    a = a + first
    b = _rotate(b + a + last, 21)
    c = a
    a = a + data.fetch(s + 8) + data.fetch(s + 16)
    return a + last, b + _rotate(a, 44) + c


def _put(values: Words, rows: NDArray[np.int64], new: Words) -> Words:
    values = values.copy()
    values[rows] = new
    return values


_BY_LENGTH = (
    _length_0,
    _length_1_to_3,
    _length_4_to_7,
    _length_8_to_16,
    _length_17_to_32,
    _length_33_to_64,
    _longer,
)
