"""The items that users had, read from rows of sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kerasrec.data.loader import Loader
from kerasrec.data.open import Data
from kerasrec.etl.operator.id_columns import FIRST
from kerasrec.retrieval.lists import Lists
from kerasrec.schema import Schema, SchemaError, Tag

ROWS = 65_536  # read at a time

try:
    from scipy import sparse
except ImportError as error:
    raise ImportError('kr.retrieval.baselines needs SciPy: pip install "kerasrec[baselines]"') from error


@dataclass(frozen=True)
class Histories:
    """The items of each user, as positions of items.

    Args:
        lists: a row per user (or session) of positions from 0, in the order of time; -1 is no item.
        items: the number of items.
        first_id: the id of the item at position 0.

    Example:

    >>> histories = Histories(kr.retrieval.Lists.of([[0, 2], [1, 2]]), items=3)
    """

    lists: Lists
    items: int
    first_id: int = 0

    def __post_init__(self) -> None:
        self.lists.check("lists", len(self.lists), self.items)

    @classmethod
    def read(cls, data: Data | Histories) -> Histories:
        """Read the list column with the tags ITEM_ID and SEQUENCE of data that `kr.Loader` takes.

        Ids of nulls and of values out of vocabulary are no items.

        Raises:
            SchemaError: there is no such column, or there are several.
        """
        if isinstance(data, Histories):
            return data
        if isinstance(data, Loader):
            raise TypeError("data is a Loader; pass what it reads: a path, a Dataset or a frame")
        loader = Loader(data, ROWS, lists="offsets", rank=0, ranks=1)
        column = loader.schema[item_column(loader.schema)]
        loader = Loader(data, ROWS, lists="offsets", rank=0, ranks=1, columns=[column.name])
        values, lengths = [np.empty(0, np.int64)], [np.zeros(1, np.int64)]
        for batch in loader:
            ids, offsets = batch[column.name]
            values.append(np.array(ids, np.int64))
            lengths.append(np.diff(offsets))
        positions = np.maximum(np.concatenate(values) - FIRST, -1)
        assert column.cardinality is not None
        lists = Lists(positions, np.cumsum(np.concatenate(lengths)))
        return cls(lists, max(column.cardinality - FIRST, 0), FIRST)

    def matrix(self) -> sparse.csr_matrix:
        """Return the (users, items) matrix that is 1 where a user had an item, once or several times."""
        known = self.lists.values >= 0
        rows, columns = self.lists.row_numbers[known], self.lists.values[known]
        ones = np.ones(len(rows), np.float32)
        matrix = sparse.csr_matrix((ones, (rows, columns)), shape=(len(self.lists), self.items))
        matrix.data[:] = 1
        return matrix

    def split_last(self) -> tuple[Histories, Lists]:
        """Return the histories before the last item of each row, and the last items."""
        lengths = self.lists.lengths
        if (lengths == 0).any():
            raise ValueError(f"row {int((lengths == 0).argmax())} has no item, so no target")
        last = self.lists.offsets[1:] - 1
        before = np.delete(self.lists.values, last)
        offsets = np.concatenate([[0], np.cumsum(lengths - 1)])
        histories = Histories(Lists(before, offsets), self.items, self.first_id)
        return histories, Lists.one_per_row(self.lists.values[last])


def item_column(schema: Schema) -> str:
    """Return the name of the list column of item ids."""
    names = [column.name for column in schema.select(Tag.ITEM_ID) if column.is_list]
    if len(names) != 1 or Tag.CATEGORICAL not in schema[names[0]].tags:
        raise SchemaError(
            f"expected one list column of ids with the tag 'item_id'; found {_names(names)}: make it with "
            "etl.Sequences, or with etl.AddTags(['item_id', 'sequence']) after Categorify"
        )
    return names[0]


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
