"""The rows of items that a recommender ranks, in the order of an index's candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import polars as pl

from kerasrec.data.loader import Loader
from kerasrec.etl.sources.scan import scan
from kerasrec.etl.sources.source import Source
from kerasrec.retrieval.encoders import columns_of
from kerasrec.retrieval.item_ids import ItemIds, shown
from kerasrec.schema import Schema, SchemaError

if TYPE_CHECKING:
    from kerasrec.data.open import Data

ItemData: TypeAlias = "Loader | Data | None"


@dataclass(frozen=True)
class ItemFeatures:
    """Rows of items that are not read yet, one per item, with their ids.

    Args:
        data: what `etl.Workflow.fit` takes, or a loader; None for rows of ids alone.
        key: the column of ids.
        ids: of the index's candidates.

    Attributes:
        source: the rows.
        key: the column of ids.
        rows: for each candidate the number of its row in the source.
        others: how many rows are not of candidates.

    Raises:
        SchemaError: there is no column of ids.
        TypeError: ids are of another type than the index's.
        ValueError: an id is null, or in several rows; or candidates have no row.
    """

    source: Source
    key: str
    rows: np.ndarray
    others: int

    @classmethod
    def of(cls, data: ItemData, key: str, ids: ItemIds) -> ItemFeatures:
        """Read the ids of rows of items, and find the row of each candidate."""
        if data is None:
            data = pl.DataFrame({key: ids.values})
        elif isinstance(data, Loader):
            data = _frame_of(data)
        source = scan(data)
        if key not in source.types:
            raise SchemaError(
                f"item_features: no column {key!r}, which names the items of the index; available: "
                f"{', '.join(source.types)}. Rename the one that does, or pass item_id="
            )
        known = _collect(source, [key])[key]
        try:
            ids.cast(known)
        except TypeError as error:
            raise TypeError(f"item_features: column {key!r}: {error}") from None
        rows = _positions(known, key, ids)
        return cls(source, key, rows, len(known) - len(rows))

    @property
    def names(self) -> list[str]:
        """The columns of the source."""
        return list(self.source.types)

    def columns(self, names: Sequence[str]) -> Schema:
        """Describe columns, which may have nulls, unless they are lists."""
        columns = [self.source.column(name) for name in names]
        return Schema(column.evolve(nullable=not column.is_list) for column in columns)

    def frame(self, names: Sequence[str]) -> pl.DataFrame:
        """Return columns of the rows of candidates, in their order: NaN is null, dates are times."""
        return _collect(self.source, list(dict.fromkeys([self.key, *names])))[self.rows]


def _collect(source: Source, names: list[str]) -> pl.DataFrame:
    source = source.select(names)
    with source.explain_errors():
        columns = [source.clean(source.column(name)).alias(name) for name in names]
        return source.collect(source.lazy().select(columns))


def _positions(known: pl.Series, key: str, ids: ItemIds) -> np.ndarray:
    """Return the row of each candidate."""
    if known.has_nulls():
        raise ValueError(f"item_features: row {known.is_null().arg_max()} has no id: column {key!r} is null")
    twice = known.filter(known.is_duplicated()).unique(maintain_order=True)
    if len(twice):
        raise ValueError(
            f"item_features: {len(twice):,} ids of column {key!r} are in several rows, such as "
            f"{shown(twice.to_list())}; pass one row per item, as frame.unique({key!r}, keep='last') makes them"
        )
    rows = ItemIds(known).positions(ids.values)
    missing = ids.values.filter(pl.Series(rows < 0))
    if len(missing):
        raise ValueError(
            f"item_features: {len(missing):,} of {len(ids):,} items of the index have no row, such as "
            f"{shown(missing.to_list())}; add their rows, or make an index without them: index.remove(ids)"
        )
    return rows


def _frame_of(loader: Loader) -> pl.DataFrame:
    batches: list[Any] = [batch if isinstance(batch, Mapping) else batch[0] for batch in loader]
    return pl.concat(columns_of(batch, list(batch)) for batch in batches)


def refuse_shared_names(read: Sequence[str], items: Sequence[str], request: Schema, key: str) -> None:
    """Raise `SchemaError` where a column that is read is in rows of items and in requests."""
    shared = [name for name in dict.fromkeys(read) if name in items and name in request and name != key]
    if shared:
        raise SchemaError(
            f"column {', '.join(map(repr, shared))} is in item_features and in requests, where the retriever "
            "reads it, so it is unclear whose it is: rename or drop it in item_features"
        )
