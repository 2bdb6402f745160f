"""Loaders made of a loader: of its first batches, or of what a function makes of each; and a look at the first."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from kerasrec.data.arguments import whole
from kerasrec.data.decode.arrow import Ragged

if TYPE_CHECKING:
    from kerasrec.data.loader import Loader

Function: TypeAlias = Callable[..., Any]


class Views:
    """`Loader.take`, `Loader.map` and `Loader.peek`.

    A view is a loader, so all that takes a loader takes it. It reads the same files, begins at the epoch that is
    next here, and counts its own from there.
    """

    _functions: tuple[Function, ...] = ()

    def take(self: Any, batches: int) -> Loader:
        """A loader of the first `batches` batches of each pass, on each rank; of all where there are fewer.

        Shuffled, they are others in each epoch. No more is read than the pools they are in, and one ahead.

        Raises:
            ValueError: `batches` is no whole number from 1, or no more than `restore` has the next pass leave out.

        Example:

        >>> model.fit(train.take(100), epochs=3)  # doctest: +SKIP
        """
        batches = whole("batches", batches, least=1)
        made = self._again()
        made._share = replace(self._share, most=min(batches, len(self)))
        if self._skip >= len(made):
            raise ValueError(f"take({batches}): the next pass goes on at batch {self._skip}, as restored")
        return made

    def map(self: Any, function: Function) -> Loader:
        """A loader of what `function` makes of each batch.

        It is called as `function(features, target)`, with the weights where the loader yields them and without
        the target where there is none, on the host and before anything is a tensor, and returns what Keras is to
        get: features, or a tuple (features, target) or (features, target, weight). Columns are NumPy arrays as
        the loader yields them, a list column that is not padded is a pair (values, offsets); what is returned as
        such a pair in a dict is a list column again. The arrays are the batch's own and may be changed in place.
        With `engine="cudf"` they are CuPy's.

        Every batch must come out with the same columns, dtypes and shapes but for the number of rows. `fit` with
        TensorFlow learns them from the first batch, which it reads once more for that. `schema` remains that of
        the files. It runs in one thread, beside the model's step in `fit`: a slow function slows the training.

        Raises:
            TypeError: (by the batch) `function` returned something else.

        Example:

        >>> def weigh(features, target):
        ...     return features, target, np.where(target[:, 0] == 1, 10, 1).astype("float32")
        >>> model.fit(train.map(weigh))  # doctest: +SKIP
        """
        if not callable(function):
            raise TypeError(f"map takes a function of (features, target), not {function!r}")
        made = self._again()
        made._functions = (*self._functions, function)
        return made

    def peek(self: Any) -> Any:
        """The first batch of the pass that comes next, which stays the next one."""
        with closing(iter(self._again())) as batches:
            return next(batches)

    def _again(self: Any) -> Loader:
        """A loader that stands where this one stands, and goes on by itself."""
        made = copy.copy(self)
        made._pass = None
        return made

    def _yielded(self: Any, batch: Any, convert: Callable[[Any], Any]) -> Any:
        """A batch as Keras takes it; `convert` makes of a column, an array or `Ragged`, what is to be yielded."""
        columns = self._layout.columns_of(batch)
        if not self._functions:
            return self._arrange({name: convert(column) for name, column in columns.items()})
        made = self._arrange({name: pair_of(column) for name, column in columns.items()})
        for function in self._functions:
            made = function(*made) if isinstance(made, tuple) else function(made)
        parts = made if isinstance(made, tuple) else (made,)
        leaves = tuple(_converted(part, convert, self._functions[-1]) for part in parts)
        return leaves if isinstance(made, tuple) else leaves[0]


def pair_of(column: Any) -> Any:
    """A list column that is not padded as a pair; others as they are."""
    return (column.values, column.offsets) if isinstance(column, Ragged) else column


def _converted(value: Any, convert: Callable[[Any], Any], function: Function, inside: bool = False) -> Any:
    """One of features, target and weight as a function made it, and the columns in it."""
    if isinstance(value, dict):
        return {name: _converted(each, convert, function, inside=True) for name, each in value.items()}
    if inside and isinstance(value, tuple) and len(value) == 2:
        return convert(Ragged(*map(_in_order, value)))
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        raise TypeError(
            f"map({getattr(function, '__name__', function)}) must return features, (features, target) or "
            f"(features, target, weight), each an array or a dict of arrays; it has {type(value).__name__}"
        )
    return convert(_in_order(value))


def _in_order(array: Any) -> Any:
    """The elements one after another in memory, as frameworks take them."""
    return np.ascontiguousarray(array) if isinstance(array, np.ndarray) else array
