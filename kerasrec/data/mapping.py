"""What the functions of `Loader.map` return: features, `(features, target)` or `(features, target, weight)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from kerasrec.data.decode.layout import BatchColumn, Ragged

# Features, or a tuple (features, target) or (features, target, weight), each an array or a dict of arrays.
Inputs: TypeAlias = Any
Function: TypeAlias = Callable[..., Inputs]
Convert: TypeAlias = Callable[[BatchColumn], Any]  # makes a framework's tensor of a column


def apply(functions: Sequence[Function], inputs: Inputs, convert: Convert) -> Inputs:
    """Apply functions to a batch, one after another, and convert the columns of the result.

    Raises:
        TypeError: the result is not made of arrays.
    """
    for function in functions:
        inputs = function(*inputs) if isinstance(inputs, tuple) else function(inputs)
    if isinstance(inputs, tuple):
        return tuple(_converted(part, convert, functions[-1]) for part in inputs)
    return _converted(inputs, convert, functions[-1])


def as_pair(column: BatchColumn) -> Any:
    """Return a list column that is not padded as a pair (values, offsets), others as they are."""
    return (column.values, column.offsets) if isinstance(column, Ragged) else column


def _converted(value: Any, convert: Convert, function: Function, in_dict: bool = False) -> Any:
    """Convert the columns in features, a target or a weight that a function returned."""
    if isinstance(value, dict):
        return {name: _converted(column, convert, function, in_dict=True) for name, column in value.items()}
    if in_dict and isinstance(value, tuple) and len(value) == 2:
        return convert(Ragged(*map(_contiguous, value)))
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        raise TypeError(
            f"map({getattr(function, '__name__', function)}) must return features, (features, target) or "
            f"(features, target, weight), each an array or a dict of arrays; got {type(value).__name__}"
        )
    return convert(_contiguous(value))


def _contiguous(array: Any) -> Any:
    """Return the array with its elements one after another in memory, as frameworks take them."""
    return np.ascontiguousarray(array) if isinstance(array, np.ndarray) else array
