"""`ItemRetriever`: what `kr.retrieval.Index` asks of a model, of one whose candidates are its sequences' items."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from keras import ops

from kerasrec.layers.embedding.table_vectors import TableVectors
from kerasrec.layers.inputs import present
from kerasrec.models.next_item.columns import SequenceColumns
from kerasrec.retrieval.scores import Similarity
from kerasrec.schema import Column, Schema, Tag
from kerasrec.typing import Tensor


class ItemRetriever:
    """Makes a model of sequences a `kr.retrieval.Retriever`: its candidates are the items of its table."""

    schema: Schema
    columns: SequenceColumns
    similarity: Similarity = "dot"

    @abstractmethod
    def item_vectors(self, training: bool = False) -> TableVectors:
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
        """One item per row, under the name that the sequences' column has."""
        items = self.schema[self.columns.item]
        tags = (Tag.CATEGORICAL, Tag.ITEM_ID)
        return Schema([Column(items.name, items.dtype, tags, items.cardinality, items.embedding_dim, items.table)])

    def encode_candidates(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return the vectors of items `(batch, embedding_dim)` float32, given their ids."""
        ids = ops.reshape(present(features, self.item_id), (-1,))
        return ops.cast(self.item_vectors().lookup(ids), "float32")
