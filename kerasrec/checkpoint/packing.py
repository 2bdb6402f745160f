"""Nested values with arrays among them, as JSON and a list of the arrays."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

_ARRAY = "@array"


def pack(value: Any, arrays: list[np.ndarray]) -> Any:
    """Return `value` as JSON can hold it, with each array in it appended to `arrays` and replaced by its index.

    Tuples become lists.

    Raises:
        TypeError: there is something else in it than None, bools, numbers, strings, arrays, lists and dicts.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"keys of a dict must be strings; got {list(value)}")
        return {key: pack(item, arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [pack(item, arrays) for item in value]
    if isinstance(value, np.ndarray) or keras.ops.is_tensor(value):
        array = np.asarray(keras.ops.convert_to_numpy(value))
        if array.dtype == object:
            raise TypeError("an array of Python objects cannot be saved")
        arrays.append(array)
        return {_ARRAY: len(arrays) - 1}
    raise TypeError(f"a {type(value).__name__} cannot be saved")


def unpack(value: Any, arrays: list[np.ndarray]) -> Any:
    """Return what `pack` was given."""
    if isinstance(value, dict):
        if set(value) == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {key: unpack(item, arrays) for key, item in value.items()}
    if isinstance(value, list):
        return [unpack(item, arrays) for item in value]
    return value
