"""`ItemIds`: the ids of candidates, and the position of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from kerasrec.etl.lookup.key_index import KeyIndex
from kerasrec.retrieval.lists import Lists


class ItemIds:
    """The ids of candidates in order, all different: strings or integers.

    Args:
        values: the ids.
        remedy: the end of the message about ids that are listed twice.

    Raises:
        ValueError: an id is null, or listed twice.
    """

    def __init__(self, values: pl.Series, remedy: str = ""):
        self.values = values.alias("id")
        if values.has_nulls():
            raise ValueError(f"row {values.is_null().arg_max()} has no id: it is null")
        twice = values.filter(values.is_duplicated()).unique(maintain_order=True)
        if len(twice):
            raise ValueError(
                f"{len(twice):,} ids are in several rows, such as {shown(twice.to_list())}; an index takes one "
                f"row per item{remedy}"
            )

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def _index(self) -> KeyIndex:
        return KeyIndex(self.values.to_frame())

    def positions(self, ids: pl.Series | Iterable[Any]) -> np.ndarray:
        """Return the position of each id, int64; -1 for one that is not a candidate's."""
        given = self.cast(ids)
        if not len(self.values):
            return np.full(len(given), -1, np.int64)
        positions = self._index.find([given]).astype(np.int64)
        return np.where((positions == len(self.values)) | given.is_null().to_numpy(), -1, positions)

    def lists(self, rows: Sequence[Iterable[Any]] | pl.Series) -> Lists:
        """Return the positions of lists of ids, -1 for those that are not candidates'."""
        if isinstance(rows, str) or any(isinstance(row, str | bytes) for row in rows):
            raise TypeError(f"expected a list of ids for each row; got {shown(list(rows))}")
        lists = [list(row) for row in rows]
        offsets = np.cumsum([0, *map(len, lists)], dtype=np.int64)
        return Lists(self.positions([value for row in lists for value in row]), offsets)

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the ids at positions; where one is -1, an integer id is -1, another None."""
        values = self.values.to_numpy()
        missing = -1 if values.dtype.kind in "iu" else None
        with_missing = np.append(values, np.array([missing], values.dtype if missing == -1 else object))
        return with_missing[positions]

    def cast(self, ids: pl.Series | Iterable[Any]) -> pl.Series:
        """Return ids in the type of these. Raises `TypeError` for others."""
        if isinstance(ids, str | bytes):
            raise TypeError(f"expected a list of ids; got {ids!r}")
        given = ids if isinstance(ids, pl.Series) else pl.Series(list(ids), strict=False)
        if not len(given) or given.dtype == pl.Null:
            return pl.Series([None] * len(given), dtype=self.values.dtype)
        if (given.dtype == pl.String) != (self.values.dtype == pl.String) or not (
            given.dtype == pl.String or given.dtype.is_integer() or given.dtype == pl.Boolean
        ):
            raise TypeError(
                f"ids of this index are {self.values.dtype}; got {given.dtype}: {shown(given.to_list())}"
            )
        return given


def shown(values: Sequence[Any]) -> str:
    """Return the first of some values for a message."""
    return ", ".join(map(repr, values[:5])) + (", ..." if len(values) > 5 else "")
