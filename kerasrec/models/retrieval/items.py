"""The vectors of all candidates of a model that makes them from the rows of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from keras import ops

from kerasrec.layers.embedding.distributed_embedding import mean_penalty
from kerasrec.layers.embedding.table_vectors import TableVectors
from kerasrec.typing import Tensor


@dataclass(frozen=True)
class EncodedRows:
    """Vectors that are made of rows of a table: the `kr.losses.ItemVectors` of a retrieval model.

    Attributes:
        rows: those of the candidates' ids.
        encode: makes `(n, dim)` of `(n, width)` rows.
        penalties: the mean penalty per row of each lookup so far.
    """

    rows: TableVectors
    encode: Callable[[Tensor], Tensor]
    penalties: list[Tensor] = field(default_factory=list)

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
        return self._encode(self.rows.lookup(ids))

    def all(self) -> Tensor:
        """Return the vectors of all ids, `(count, dim)`."""
        return self._encode(self.rows.all())

    def _encode(self, rows: Tensor) -> Tensor:
        if (regularizer := self.rows.table.regularizer) is not None:
            self.penalties.append(mean_penalty(regularizer, rows, ops.shape(rows)[0]))
        return self.encode(rows)
