"""The items that users had, read from rows of sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kerasrec.data.loader import Loader
from kerasrec.etl.operator.id_columns import FIRST
from kerasrec.retrieval.encoders import Features, Rows, columns_of
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
        lists: a row per user (or session) of positions from 0, in the order of time; -1 stands for none.
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
    def read(cls, data: Rows | Histories) -> Histories:
        """Read the list column with the tag ITEM_ID of a `kr.Loader`, or of what it takes.

        Ids of nulls and of values out of vocabulary are not items.

        Raises:
            SchemaError: there is no such column, or there are several.
        """
        if isinstance(data, Histories):
            return data
        loader = data if isinstance(data, Loader) else Loader(data, ROWS, lists="offsets", rank=0, ranks=1)
        if loader.ranks > 1 or loader.drop_last:
            raise ValueError("the loader must have all rows; make it with rank=0, ranks=1 and drop_last=False")
        column = loader.schema[item_column(loader.schema)]
        if not isinstance(data, Loader):
            loader = Loader(data, ROWS, lists="offsets", rank=0, ranks=1, columns=[column.name], targets=[])
        values, lengths = [np.empty(0, np.int64)], [np.zeros(1, np.int64)]
        for batch in loader:
            features = batch if isinstance(batch, Mapping) else batch[0]
            ids, of_batch = _ids_and_lengths(features, column.name)
            values.append(ids)
            lengths.append(of_batch)
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
        """Return the histories before the last item of each row, and the last items; a row without items has
        none."""
        offsets, lengths = self.lists.offsets, self.lists.lengths
        has_items = lengths > 0
        last = offsets[1:][has_items] - 1
        targets = Lists(self.lists.values[last], np.cumsum([0, *has_items]))
        before = Lists(np.delete(self.lists.values, last), offsets - targets.offsets)
        return Histories(before, self.items, self.first_id), targets


def _ids_and_lengths(features: Features, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of a batch's lists, copied, and the lengths of the lists."""
    if isinstance(features[name], tuple):
        values, offsets = features[name]
        return np.array(values, np.int64), np.diff(offsets)
    lists = columns_of(features, [name])[name]
    return lists.explode().drop_nulls().to_numpy().astype(np.int64), lists.list.len().to_numpy().astype(np.int64)


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
