"""YoutubeDNN: a network over a user's history and context predicts the next item among all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerasrec.layers.mlp import widths
from kerasrec.models.base import chain
from kerasrec.models.retrieval.base import RetrievalModel
from kerasrec.retrieval.scores import Similarity
from kerasrec.schema import Schema, SchemaError
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class YoutubeDNN(RetrievalModel):
    """The candidate generation of YouTube: a tower over the query, and a vector per item.

    With `x` the query's continuous columns and embeddings, of which that of a list of past items is the mean of
    theirs, the score of item i is `query_tower(x) . v_i`. The items' vectors `v` are a table of their own: those
    of past items are others, as the weights of a softmax over items are others than its inputs.

    Args:
        schema: `loader.schema`, with columns of a query, among them lists of past items, and the item's id.
        embedding_dim: the width of the query's embeddings; None takes each column's own suggestion.
        query_units: widths of the tower, whose last layer is linear; the last one is the items' width.
        similarity: "dot", "cosine", or "l2", minus the squared distance.
        dropout: in the tower.
        candidate_columns, item_id, **kwargs: as in `RetrievalModel`, as are inputs, output and other errors.

    Raises:
        SchemaError: the candidate has other columns than its id.

    Example:

    >>> model = kr.models.YoutubeDNN(train.schema, query_units=[256, 64])
    >>> model.compile(kr.optimizers.Adam(1e-3))

    Source: Covington et al., "Deep Neural Networks for YouTube Recommendations", RecSys 2016,
    https://doi.org/10.1145/2959100.2959190
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int | None = 64,
        query_units: int | Sequence[int] = (256, 64),
        similarity: Similarity = "dot",
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        units = widths("youtube_dnn", "query_units", query_units)
        super().__init__(schema, embedding_dim, similarity, id_width=units[-1], **kwargs)
        if self.candidate_schema.names != [self.item_id] or self.item_table is None:
            raise SchemaError(
                f"{self.name} knows an item by its id alone, but the candidate's columns are "
                f"{', '.join(self.candidate_schema.names)}; leave the others out with columns=[...] in the "
                "loader, or use kr.models.TwoTower"
            )
        self.query_units, self.dropout = units, dropout
        self.query_tower = self.make_tower(units, dropout, "query_tower")
        chain((None, self.width_of(self.query_schema)), self.query_tower)
        self.built = True

    @property
    def vector_dim(self) -> int:
        return self.query_units[-1]

    def query_of(self, vectors: Mapping[str, Tensor], numbers: Tensor | None, training: bool | None) -> Tensor:
        return self.query_tower(self.side_by_side(vectors, numbers), training=training)

    def candidate_of(self, vectors: Mapping[str, Tensor], numbers: Tensor | None, training: bool | None) -> Tensor:
        return vectors[self.item_id]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "query_units": list(self.query_units), "dropout": self.dropout}
