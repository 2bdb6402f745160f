"""`ItemRetriever`: what `kr.retrieval.Index` asks of a model, of one whose candidates are its sequences' items."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from keras import ops

from kerasrec.layers.inputs import present
from kerasrec.losses.item_vectors import ItemVectors
from kerasrec.models.next_item.columns import SequenceColumns
from kerasrec.models.next_item.item_tower import DescribedItems
from kerasrec.retrieval.scores import Similarity
from kerasrec.schema import Column, Schema, Tag
from kerasrec.typing import Tensor


class ItemRetriever:
    """Makes a model of sequences a `kr.retrieval.Retriever`: its candidates are the items of its table."""

    schema: Schema
    columns: SequenceColumns
    similarity: Similarity = "dot"

    @abstractmethod
    def item_vectors(self, training: bool = False) -> ItemVectors:
        """Return the vectors of all items, as they are predicted."""

    @property
    def item_id(self) -> str:
        """The column of items."""
        return self.columns.item

    @property
    def query_schema(self) -> Schema:
        """The columns of a sequence."""
        return self.schema

    @property
    def candidate_schema(self) -> Schema:
        """One item per row, under the name that the sequences' column has, and the columns that describe it."""
        items, vectors = self.schema[self.columns.item], self.item_vectors()
        tags = (Tag.CATEGORICAL, Tag.ITEM_ID)
        column = Column(items.name, items.dtype, tags, items.cardinality, items.embedding_dim, items.table)
        return Schema([column, *(vectors.tower.schema if isinstance(vectors, DescribedItems) else ())])

    def encode_candidates(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return the vectors of items `(batch, embedding_dim)` float32.

        Args:
            features: the items' ids, and the columns that describe them. Of ids alone, the items are described as
                in the model's own table of items.
        """
        vectors = self.item_vectors()
        ids = ops.reshape(present(features, self.item_id), (-1,))
        if isinstance(vectors, DescribedItems) and any(name in features for name in vectors.tower.schema.names):
            return vectors.of_columns(ids, features)
        return ops.cast(vectors.lookup(ids), "float32")
