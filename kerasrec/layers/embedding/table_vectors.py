"""`TableVectors`: the rows of an embedding table as the vectors of items, as losses over items take them."""

from __future__ import annotations

from keras import ops

from kerasrec.layers.embedding.distributed_embedding import DistributedEmbedding
from kerasrec.layers.embedding.local_lookup import LocalLookup
from kerasrec.tables.config import TableConfig
from kerasrec.typing import Tensor


class TableVectors:
    """The rows of the table of a `DistributedEmbedding` of one feature, by id.

    Args:
        embeddings: looks up the table for one feature.
        feature: its name.
        first_id: the first id of an item.
        training: whether gradients will be asked for.
    """

    def __init__(self, embeddings: DistributedEmbedding, feature: str, first_id: int, training: bool = False):
        self.embeddings, self.feature, self.first_id, self.training = embeddings, feature, first_id, training

    @property
    def table(self) -> TableConfig:
        return self.embeddings.features[self.feature].table

    @property
    def count(self) -> int:
        return self.table.vocabulary_size

    def lookup(self, ids: Tensor) -> Tensor:
        vectors: Tensor = self.embeddings({self.feature: ids}, training=self.training)[self.feature]
        return vectors

    def all(self) -> Tensor:
        """Return the table, `(count, dim)`. On several ranks every rank must call it."""
        lookup = self.embeddings.lookup
        if isinstance(lookup, LocalLookup):
            (variable,) = lookup.variables
            return ops.convert_to_tensor(variable)
        return self.lookup(ops.arange(self.count, dtype="int32" if self.count < 2**31 else "int64"))
