"""The vectors of all candidates of a model that makes them from the rows of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keras import ops

from kerasrec.etl.operator.id_columns import FIRST
from kerasrec.layers import DistributedEmbedding
from kerasrec.typing import Tensor


@dataclass(frozen=True)
class EncodedRows:
    """Vectors that are made of rows of a table: the `kr.losses.ItemVectors` of a retrieval model.

    Attributes:
        table: looks up the candidates' ids alone.
        feature: under this name.
        encode: makes `(n, dim)` of `(n, width)` rows.
        first_id: the first id that `etl.Categorify` gives to a value.
    """

    table: DistributedEmbedding
    feature: str
    encode: Callable[[Tensor], Tensor]
    first_id: int = FIRST

    @property
    def count(self) -> int:
        """The number of ids."""
        return self.table.features[self.feature].table.vocabulary_size

    def lookup(self, ids: Tensor) -> Tensor:
        """Return the vectors of ids `(n,)`, `(n, dim)`."""
        return self.encode(self.table({self.feature: ids}, training=True)[self.feature])

    def all(self) -> Tensor:
        """Return the vectors of all ids, `(count, dim)`."""
        return self.lookup(ops.arange(self.count, dtype="int32"))
