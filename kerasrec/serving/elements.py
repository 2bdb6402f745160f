"""A column of raw rows as NumPy arrays, which is what frames and dicts are both read into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from kerasrec.etl.sources import exact_cast
from kerasrec.schema import Column

RowOf: TypeAlias = Callable[[int], int]  # the row of the k-th element


@dataclass(frozen=True)
class Elements:
    """The elements of a column.

    Attributes:
        values: (n,); '', 0, false or NaN for a null, which the model does not read.
        valid: (n,) bool, false for a null.
        offsets: of a list column, where each row's elements start, and the end.
    """

    values: np.ndarray
    valid: np.ndarray
    offsets: np.ndarray | None = None

    def row_of(self, k: int) -> int:
        """Return the row of the k-th element."""
        return row_of(self.offsets)(k)


Read: TypeAlias = Callable[[Column], Elements]


def list_offsets(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return where lists of these lengths start when they follow each other, and the end."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def row_of(offsets: np.ndarray | None) -> RowOf:
    """Return the function of k that gives the row of the k-th element."""
    if offsets is None:
        return lambda k: k
    return lambda k: int(np.searchsorted(offsets, k, side="right")) - 1


def misfit(column: Column, row: int, value: object) -> ValueError:
    """Return the error for a value that is not one of the column's dtype."""
    return ValueError(f"column {column.name!r}, row {row}: {exact_cast.misfit(value, column.dtype)}")
