"""Python values as bytes to be sent between ranks: JSON, so that no message can run code."""

from __future__ import annotations

import base64
import json
from typing import Any

import ml_dtypes  # noqa: F401  teaches NumPy bfloat16
import numpy as np

_BYTES, _ARRAY = "__bytes__", "__array__"


def encode(value: Any) -> bytes:
    """Return a value as bytes.

    Args:
        value: numbers, strings, None, bytes, NumPy arrays, and lists, tuples and dicts (by strings) of these.
            Tuples arrive as lists.

    Raises:
        TypeError: anything else.

    >>> decode(encode({"rows": (3, 4), "digest": b"x", "mean": np.array([0.5])}))
    {'rows': [3, 4], 'digest': b'x', 'mean': array([0.5])}
    """
    return json.dumps(value, default=_plain).encode()


def decode(data: bytes) -> Any:
    """Return the value that `encode` was given. Raises `ValueError` for bytes that it did not write."""
    return json.loads(data, object_hook=_value)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(value).decode()}
    if isinstance(value, np.generic) and value.dtype != object:
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return {_ARRAY: value.dtype.name, "shape": value.shape, "data": np.ascontiguousarray(value).tobytes()}
    raise TypeError(f"ranks send each other numbers, strings, bytes and arrays; got {type(value).__name__}")


def _value(decoded: dict[str, Any]) -> Any:
    if decoded.keys() == {_BYTES}:
        return base64.b64decode(decoded[_BYTES], validate=True)
    if decoded.keys() == {_ARRAY, "shape", "data"}:
        return np.frombuffer(decoded["data"], decoded[_ARRAY]).reshape(decoded["shape"]).copy()
    return decoded
