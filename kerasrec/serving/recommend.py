"""`Recommend`: calls a signature that recommends, with raw rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasrec.etl.sources.types import integer_range, is_integer
from kerasrec.schema import Schema
from kerasrec.serving.description import Description
from kerasrec.serving.rows import rows
from kerasrec.serving.served_model import ServedSignature
from kerasrec.tensor_names import OFFSETS, VALUES

if TYPE_CHECKING:
    from kerasrec.data.open import Data


@dataclass(frozen=True)
class Recommend:
    """Calls a signature that recommends, with raw rows.

    Attributes:
        signature: takes raw columns, `k`, and lists of ids to leave out; returns `ids` and `scores`.
        columns: the raw columns, or the path of the SavedModel that knows them.
        names: of the inputs "k", "exclude_values" and "exclude_offsets".
    """

    signature: ServedSignature
    columns: Schema | str | os.PathLike[str]
    names: Mapping[str, str]

    def __call__(
        self, data: Data, k: int = 10, exclude: Sequence[Iterable[Any]] | None = None
    ) -> dict[str, np.ndarray]:
        """Return `ids` and `scores`, (rows, k), of raw rows; where a row has fewer, an id is None or -1."""
        inputs, names = rows(data, self.columns), self.names
        count = next(len(v) - n.endswith(OFFSETS) for n, v in inputs.items() if not n.endswith(VALUES))
        lists: list[list[Any]] = [[] for _ in range(count)]
        if exclude is not None:
            lists = [[value for value in row if self._may_be_an_id(value)] for row in exclude]
        if len(lists) != count:
            raise ValueError(f"exclude has {len(lists)} lists for {count} rows")
        inputs |= {
            names["k"]: np.array([k]),
            names["exclude_values"]: id_array([value for row in lists for value in row]),
            names["exclude_offsets"]: np.cumsum([0, *map(len, lists)], dtype=np.int64),
        }
        found = self.signature(**inputs)
        if found["ids"].dtype.kind == "O":
            texts = [
                None if score == -np.inf else value.decode()
                for value, score in zip(found["ids"].ravel(), found["scores"].ravel(), strict=True)
            ]
            found["ids"] = np.array(texts, object).reshape(found["ids"].shape)
        return found

    def _may_be_an_id(self, value: Any) -> bool:
        """Return whether a value to leave out is not None, nor an integer that ids have no room for."""
        dtype = self.signature.inputs[self.names["exclude_values"]]
        if not is_integer(dtype) or not isinstance(value, int | np.integer):
            return value is not None
        least, greatest = integer_range(dtype)
        return least <= int(value) <= greatest


def input_names(description: Description) -> dict[str, str]:
    """Return the names of the inputs of a signature that recommends, beside its columns."""
    (exclude,), (k,) = description.optional, description.options
    excluded = description.columns[exclude]
    return {"k": k, "exclude_values": excluded.values, "exclude_offsets": excluded.offsets or ""}


def id_array(values: list[Any]) -> np.ndarray:
    """Return ids as a signature takes them."""
    texts = any(isinstance(value, str | bytes) for value in values)
    return np.array(values, object) if texts or not values else np.asarray(values)
