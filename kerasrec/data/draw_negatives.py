"""`DrawNegatives`: negatives that are drawn anew for each batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from kerasrec.data.arguments import integer
from kerasrec.data.known_items import KnownItems
from kerasrec.etl.operator.id_columns import FIRST
from kerasrec.schema import Schema


class DrawNegatives:
    """Adds copies of a batch's positive rows with items drawn at random and target 0; for `Loader.map`.

    Items are drawn uniformly from all ids that `etl.Categorify` gave to values, with the row's own item left out,
    or all items of its user. In each epoch they are others, while those of `etl.NegativeSampling`, which can also
    draw by popularity, are in the data.

    Args:
        schema: the loader's.
        item: the column of item ids; columns that describe an item are not drawn with it, so that there may be
            none.
        negatives: how many copies of each row, at least 1.
        seed: of the draws.
        user: the column of user ids whose items of `known` are left out.
        known: rows of `user` and `item`, such as those to train on: batches of a `kr.Loader`, which are read once,
            now. Each pair takes 8 bytes.

    Raises:
        KeyError: the schema has no such column.
        ValueError: it is not categorical or is a list, or has fewer than two items; `negatives` is below 1; only
            one of `user` and `known`; when it draws, a row that is not in `known`, or a user who has all items.

    Example:

    >>> draw = kr.data.DrawNegatives(train.schema, "item", negatives=4, user="user", known=train)
    >>> model.fit(train.map(draw))  # doctest: +SKIP
    """

    def __init__(
        self,
        schema: Schema,
        item: str,
        negatives: int = 1,
        seed: int = 0,
        *,
        user: str | None = None,
        known: Iterable[Any] | None = None,
    ):
        self.count = _count_of(schema, item)
        self.item, self.negatives = item, integer("negatives", negatives, least=1)
        self._known: tuple[str, KnownItems] | None = None
        if user is not None and known is not None:
            _count_of(schema, user)
            self._known = user, KnownItems.of(known, user, item, self.count)
        elif user is not None or known is not None:
            raise ValueError("user and known must both be given: the items of which column's ids are left out?")
        self._random = np.random.default_rng(seed)

    def __call__(self, features: dict[str, Any], target: np.ndarray, *weight: np.ndarray) -> tuple[Any, ...]:
        """Return the batch with its negatives."""
        positive = np.flatnonzero(np.asarray(target)[:, 0] > 0)
        copies = np.repeat(positive, self.negatives)
        rows = np.concatenate([np.arange(len(target)), copies])
        own = features[self.item][copies]
        if self._known is None:
            drawn = self._random.integers(FIRST, self.count - (own >= FIRST))
            drawn += (own >= FIRST) & (drawn >= own)  # uniform over the others
        else:
            user, known = self._known
            drawn = known.draw_others(features[user][copies], own, self._random)
        batch = {name: _rows_of(column, rows) for name, column in features.items()}
        batch[self.item][len(target) :] = drawn
        labels = np.concatenate([target, np.zeros((len(copies), 1), target.dtype)])
        return batch, labels, *(each[rows] for each in weight)


def _count_of(schema: Schema, name: str) -> int:
    """Return the number of ids of a column of one id per row."""
    column = schema[name]
    count = column.cardinality or 0
    if column.is_list or count < FIRST + 2:
        raise ValueError(
            f"column {name!r} must have one id per row, of {FIRST + 2} or more ids with the three special "
            f"ones; got cardinality {column.cardinality}{' of a list' if column.is_list else ''}"
        )
    return count


def _rows_of(column: Any, rows: np.ndarray) -> Any:
    """Return rows of a column; of a list column that is a pair (values, offsets) such a pair."""
    if not isinstance(column, tuple):
        return column[rows]
    values, offsets = column
    lengths = np.diff(offsets)[rows]
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(offsets.dtype)
    places = np.arange(ends[-1]) + np.repeat(offsets[:-1][rows] - ends[:-1], lengths)
    return values[places], ends
