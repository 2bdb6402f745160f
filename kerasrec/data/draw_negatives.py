"""`DrawNegatives`: negatives that are drawn anew for each batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerasrec.data.arguments import integer
from kerasrec.etl.operator.id_columns import FIRST
from kerasrec.schema import Schema


class DrawNegatives:
    """Adds copies of a batch's positive rows with items drawn at random and target 0; for `Loader.map`.

    Items are drawn uniformly from all ids that `etl.Categorify` gave to values, with the row's own item left out.
    In each epoch they are others, while those of `etl.NegativeSampling` are in the data; which also leaves out the
    other items of a user, and can draw by popularity.

    Args:
        schema: the loader's.
        item: the column of item ids; columns that describe an item are not drawn with it, so that there may be
            none.
        negatives: how many copies of each row, at least 1.
        seed: of the draws.

    Raises:
        KeyError: the schema has no such column.
        ValueError: it is not categorical or is a list, or has fewer than two items; or `negatives` is below 1.

    Example:

    >>> model.fit(train.map(kr.data.DrawNegatives(train.schema, "item", negatives=4)))  # doctest: +SKIP
    """

    def __init__(self, schema: Schema, item: str, negatives: int = 1, seed: int = 0):
        column = schema[item]
        self.count = column.cardinality or 0
        if column.is_list or self.count < FIRST + 2:
            raise ValueError(
                f"column {item!r} must have one id per row, of {FIRST + 2} or more ids with the three special "
                f"ones; got cardinality {column.cardinality}{' of a list' if column.is_list else ''}"
            )
        self.item, self.negatives = item, integer("negatives", negatives, least=1)
        self._random = np.random.default_rng(seed)

    def __call__(self, features: dict[str, Any], target: np.ndarray, *weight: np.ndarray) -> tuple[Any, ...]:
        """Return the batch with its negatives."""
        positive = np.flatnonzero(np.asarray(target)[:, 0] > 0)
        copies = np.repeat(positive, self.negatives)
        rows = np.concatenate([np.arange(len(target)), copies])
        own = features[self.item][copies]
        drawn = self._random.integers(FIRST, self.count - (own >= FIRST))
        drawn += (own >= FIRST) & (drawn >= own)  # uniform over the others
        batch = {name: _rows_of(column, rows) for name, column in features.items()}
        batch[self.item][len(target) :] = drawn
        labels = np.concatenate([target, np.zeros((len(copies), 1), target.dtype)])
        return batch, labels, *(each[rows] for each in weight)


def _rows_of(column: Any, rows: np.ndarray) -> Any:
    """Return rows of a column; of a list column that is a pair (values, offsets) such a pair."""
    if not isinstance(column, tuple):
        return column[rows]
    values, offsets = column
    lengths = np.diff(offsets)[rows]
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(offsets.dtype)
    places = np.arange(ends[-1]) + np.repeat(offsets[:-1][rows] - ends[:-1], lengths)
    return values[places], ends
