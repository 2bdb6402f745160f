"""`Lists`: rows of different lengths in two NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Lists:
    """Rows of different lengths: row i is `values[offsets[i]:offsets[i + 1]]`.

    Args:
        values: `(n,)` integers, for instance positions of items among the candidates.
        offsets: `(rows + 1,)` integers, from 0 to n, where each row starts.

    Raises:
        ValueError: the offsets do not start at 0, decrease, or do not end at the number of values.

    Example:

    >>> lists = Lists.of([[4, 2], [], [7]])
    >>> lists.values, lists.offsets
    (array([4, 2, 7]), array([0, 2, 2, 3]))
    """

    values: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        for name in ("values", "offsets"):
            array = np.asarray(getattr(self, name))
            if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
                raise ValueError(f"{name} must be (n,) integers; got {array.shape} of {array.dtype}")
            object.__setattr__(self, name, array.astype(np.int64, copy=False))
        offsets, count = self.offsets, len(self.values)
        if not len(offsets) or offsets[0] != 0 or offsets[-1] != count or (np.diff(offsets) < 0).any():
            raise ValueError(f"offsets must increase from 0 to the number of values, {count}; got {offsets}")

    @classmethod
    def of(cls, rows: Iterable[Sequence[int] | np.ndarray]) -> Lists:
        """Return the lists of a sequence of sequences."""
        arrays = [np.asarray(row, np.int64) for row in rows]
        offsets = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
        return cls(np.concatenate([np.empty(0, np.int64), *arrays]), offsets)

    @classmethod
    def one_per_row(cls, values: np.ndarray) -> Lists:
        """Return lists of one value per row."""
        return cls(values, np.arange(len(values) + 1))

    @classmethod
    def concatenate(cls, parts: Sequence[Lists]) -> Lists:
        """Return the rows of several lists, one after another's."""
        lengths = [part.lengths for part in parts]
        return cls(np.concatenate([part.values for part in parts]), np.cumsum(np.concatenate([[0], *lengths])))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """The number of values in each row."""
        return np.diff(self.offsets)

    @cached_property
    def row_numbers(self) -> np.ndarray:
        """The row of each value."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def rows(self, start: int, stop: int) -> Lists:
        """Return the rows from `start` to before `stop`."""
        offsets = self.offsets[start : stop + 1]
        return Lists(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])

    def without(self, others: Lists) -> Lists:
        """Return each row without the values that are in the same row of `others`; -1 stays."""
        pairs = [np.stack([lists.row_numbers, lists.values], axis=1) for lists in (self, others)]
        as_one = [np.ascontiguousarray(p).view([("row", np.int64), ("value", np.int64)])[:, 0] for p in pairs]
        kept = (self.values < 0) | ~np.isin(as_one[0], as_one[1])
        counts = np.bincount(self.row_numbers[kept], minlength=len(self))
        return Lists(self.values[kept], np.cumsum([0, *counts]))

    def check(self, name: str, rows: int, below: int) -> None:
        """Check that these are positions in [-1, below) for `rows` queries.

        Raises:
            ValueError: there are other numbers of rows, or a position is out of range.
        """
        if len(self) != rows:
            raise ValueError(f"{name} has {len(self)} rows for {rows} queries")
        wrong = (self.values < -1) | (self.values >= below)
        if wrong.any():
            at = int(wrong.argmax())
            raise ValueError(
                f"{name}, row {self.row_numbers[at]}: position {self.values[at]} is out of range [0, {below}); "
                "-1 stands for an item that is not a candidate"
            )

    def refuse_repeated(self, name: str) -> None:
        """Raise `ValueError` if a row has a value other than -1 twice."""
        if self.lengths.max(initial=0) < 2:
            return
        order = np.lexsort((self.values, self.row_numbers))
        row, value = self.row_numbers[order], self.values[order]
        repeated = (row[1:] == row[:-1]) & (value[1:] == value[:-1]) & (value[1:] >= 0)
        if repeated.any():
            at = int(repeated.argmax())
            raise ValueError(f"{name}, row {row[at]}: position {value[at]} is listed twice")
