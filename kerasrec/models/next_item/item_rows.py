"""`ItemRows`: the columns that describe items, read from a table of one row per item, in the order of ids."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from kerasrec.data.loader import Loader
from kerasrec.etl.dataset import Dataset
from kerasrec.retrieval.encoders import to_numpy
from kerasrec.schema import Column, Schema, SchemaError, Tag

# A table of items, or what a config has in its place.
Items: TypeAlias = Dataset | Loader | Mapping[str, Any]


@dataclass(frozen=True)
class ItemRows:
    """What describes the items, with one row for each id.

    Attributes:
        schema: the columns, without that of ids.
        widths: the widths of lists, padded with 0, by column.
        arrays: the columns' values by id, `(count,)` or `(count, width)`; None where they are yet to be loaded.
    """

    schema: Schema
    widths: dict[str, int]
    arrays: dict[str, np.ndarray] | None = None

    def config(self) -> dict[str, Any]:
        """Return what `of` takes to make the same columns without values."""
        return {"schema": self.schema.to_dict(), "widths": dict(self.widths)}

    @classmethod
    def of(cls, model: str, items: Items, item: Column, first_id: int) -> ItemRows:
        """Read a table of items.

        Args:
            model: its name, for messages.
            items: rows with the column of ids, which has the name that the sequences' has, and other columns, of
                which the categorical and continuous ones are read; or a config.
            item: the sequences' column of items.
            first_id: the first id of an item.

        Raises:
            TypeError: neither a loader nor a dataset.
            SchemaError: no column of ids, or one of another vocabulary; no other column; one that cannot be read.
            ValueError: an id is in several rows; or a loader that does not read all rows.
        """
        if isinstance(items, Mapping) and set(items) == {"schema", "widths"}:
            return cls(Schema.from_dict(items["schema"]), dict(items["widths"]))
        if not isinstance(items, Dataset | Loader):
            raise TypeError(
                f"{model}: items must be a kr.Loader, or a dataset as workflow.transform(...) returns it; got "
                f"{type(items).__name__}"
            )
        schema = _described_by(model, items.schema, item)
        ids, columns = _columns(model, items, [item.name, *schema.names])
        is_item = ids >= first_id
        _check(model, ids[is_item], item, first_id, int((~is_item).sum()))
        arrays = {}
        for column in schema:
            values = columns[column.name]
            shape = (item.cardinality or 0, *values.shape[1:])
            arrays[column.name] = np.zeros(shape, column.dtype if Tag.CATEGORICAL in column.tags else "float32")
            arrays[column.name][ids[is_item]] = values[is_item]
        return cls(schema, {name: each.shape[1] for name, each in arrays.items() if each.ndim == 2}, arrays)


def _described_by(model: str, schema: Schema, item: Column) -> Schema:
    """Return the columns that describe an item."""
    if item.name not in schema or schema[item.name].is_list:
        raise SchemaError(
            f"{model}: items must have the column of ids {item.name!r}, one per row, as the sequences name it; "
            f"available: {', '.join(column.name for column in schema if not column.is_list) or 'none'}"
        )
    if schema[item.name].cardinality != item.cardinality:
        raise SchemaError(
            f"{model}: {item.name!r} has {schema[item.name].cardinality} ids in items, but {item.cardinality} in "
            "the sequences; encode both with one vocabulary: etl.Categorify(vocabs={"
            f"{item.table or item.name!r}: ...}})"
        )
    columns = [
        c for c in schema.features if {Tag.CATEGORICAL, Tag.CONTINUOUS} & set(c.tags) and c.name != item.name
    ]
    if not columns:
        raise SchemaError(f"{model}: items has no categorical or continuous column beside {item.name!r}")
    for column in columns:
        if Tag.CATEGORICAL not in column.tags and (
            column.dtype in ("string", "datetime") or (column.is_list and column.width is None)
        ):
            kind = "of lists of different lengths" if column.is_list else f"of {column.dtype}"
            raise SchemaError(f"{model}: column {column.name!r} of items is {kind}, which is not a number")
    return Schema(columns)


def _columns(model: str, items: Dataset | Loader, names: list[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the first column and the others, lists padded with 0 and at least 2 wide."""
    if isinstance(items, Dataset):
        items = Loader(items, lists="padded", columns=names, targets=[], rank=0, ranks=1)
    if items.ranks > 1 or items.drop_last:
        raise ValueError(
            f"{model}: items must be read by every rank, all rows of it: make the loader with rank=0, ranks=1 and "
            "drop_last=False"
        )
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for batch in items:
        features = batch if isinstance(batch, Mapping) else batch[0]
        for name in names:
            values = _padded(features[name]).copy()  # a loader uses a batch's memory again
            parts[name].append(values if items.schema[name].is_list else values.reshape(-1))
    joined = {name: _joined(each, Tag.CATEGORICAL in items.schema[name].tags) for name, each in parts.items()}
    return joined.pop(names[0]), joined


def _padded(column: Any) -> np.ndarray:
    if not isinstance(column, tuple) and not hasattr(column, "row_splits"):
        return to_numpy(column)
    values, offsets = column if isinstance(column, tuple) else (column.values, column.row_splits)
    values, lengths = to_numpy(values), np.diff(to_numpy(offsets))
    padded = np.zeros((len(lengths), lengths.max(initial=0)), values.dtype)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = values
    return padded


def _joined(parts: list[np.ndarray], of_ids: bool) -> np.ndarray:
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    # Ids (count, 1) would be read as one id per row, not as lists.
    width = max(2 if of_ids else 1, *(part.shape[1] for part in parts))
    return np.concatenate([np.pad(part, [(0, 0), (0, width - part.shape[1])]) for part in parts])


def _check(model: str, ids: np.ndarray, item: Column, first_id: int, others: int) -> None:
    """Refuse ids in several rows, and warn of items without a row and of rows without an item."""
    distinct, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"{model}: items has several rows with the id {distinct[counts > 1][0]} in {item.name!r}")
    missing = (item.cardinality or 0) - first_id - len(distinct)
    problems = []
    if missing:
        problems.append(
            f"{missing:,} items of the vocabulary of {item.name!r} have no row in items, so 0 describes them"
        )
    if others:
        problems.append(
            f"{others:,} rows of items are out of this vocabulary and not read; kr.retrieval.Index takes them"
        )
    if problems:
        warnings.warn(f"{model}: {'; '.join(problems)}", stacklevel=6)
