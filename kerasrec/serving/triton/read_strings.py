"""How Triton's Python backend reads a tensor of strings, ten times as fast as its own function.

`kerasrec serve` puts this file at the end of the backend's `triton_python_backend_utils.py`: the function there
has the same name.
"""

import struct

import numpy as np

MANY = 1024  # bytes from which a look at all lengths at once is worth its while
_LENGTH = struct.Struct("<I")


def deserialize_bytes_tensor(encoded_tensor: np.ndarray) -> np.ndarray:
    """Return the strings (n,) of a tensor as Triton encodes it: each after its length in 4 bytes.

    Raises:
        ValueError: the lengths do not fit the bytes.
    """
    data = encoded_tensor.tobytes()
    strings = _of_one_length(data) if len(data) >= MANY else None
    return np.array(_of_any_length(data) if strings is None else strings, np.object_)


def _of_one_length(data: bytes) -> list[bytes] | None:
    """Return the strings if all have the length of the first, and are not empty."""
    (length,) = _LENGTH.unpack_from(data)
    count, rest = divmod(len(data), _LENGTH.size + length)
    if rest or not length:
        return None
    encoded = np.frombuffer(data, np.uint8).reshape(count, _LENGTH.size + length)
    if (encoded[:, : _LENGTH.size] != encoded[0, : _LENGTH.size]).any():
        return None
    strings: list[bytes] = np.ascontiguousarray(encoded[:, _LENGTH.size :]).view(f"V{length}").ravel().tolist()
    return strings


def _of_any_length(data: bytes) -> list[bytes]:
    strings: list[bytes] = []
    append, unpack, at, end = strings.append, _LENGTH.unpack_from, 0, len(data)
    try:
        while at < end:
            start = at + 4
            at = start + unpack(data, at)[0]
            append(data[start:at])
    except struct.error:
        at = end + 1
    if at != end:
        raise ValueError("the lengths of the strings do not fit the bytes of the tensor")
    return strings
