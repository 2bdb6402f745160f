"""The vectors of all candidates of a model that makes them from the rows of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kerasrec.layers.embedding.table_vectors import TableVectors
from kerasrec.typing import Tensor


@dataclass(frozen=True)
class EncodedRows:
    """Vectors that are made of rows of a table: the `kr.losses.ItemVectors` of a retrieval model.

    Attributes:
        rows: those of the candidates' ids.
        encode: makes `(n, dim)` of `(n, width)` rows.
    """

    rows: TableVectors
    encode: Callable[[Tensor], Tensor]

    @property
    def count(self) -> int:
        """The number of ids."""
        return self.rows.count

    @property
    def first_id(self) -> int:
        """The first id of a candidate."""
        return self.rows.first_id

    def lookup(self, ids: Tensor) -> Tensor:
        """Return the vectors of ids `(n,)`, `(n, dim)`."""
        return self.encode(self.rows.lookup(ids))

    def all(self) -> Tensor:
        """Return the vectors of all ids, `(count, dim)`."""
        return self.encode(self.rows.all())
