"""The vectors of all candidates of a model that makes them from their ids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keras import ops

from kerasrec.etl.operator.id_columns import FIRST
from kerasrec.typing import Tensor


@dataclass(frozen=True)
class EncodedIds:
    """Vectors that an encoder makes of ids: the `kr.losses.ItemVectors` of models without side columns of items.

    Attributes:
        count: the number of ids.
        encode: `(n,)` ids -> `(n, dim)`.
        first_id: the first id that `etl.Categorify` gives to a value.
    """

    count: int
    encode: Callable[[Tensor], Tensor]
    first_id: int = FIRST

    def lookup(self, ids: Tensor) -> Tensor:
        return self.encode(ids)

    def all(self) -> Tensor:
        return self.encode(ops.arange(self.count, dtype="int32"))
