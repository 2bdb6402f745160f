"""TwoTower: a network makes a vector of a query, another one of a candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.etl.operator.id_columns import UNKNOWN
from kerasrec.layers.inputs import present
from kerasrec.layers.mlp import widths
from kerasrec.models.base import chain
from kerasrec.models.retrieval.base import RetrievalModel
from kerasrec.retrieval.scores import Similarity
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class TwoTower(RetrievalModel):
    """Two towers, one over a query's columns and one over a candidate's.

    With `x` the query's continuous columns and embeddings and `y` the candidate's, the score of the two is the
    similarity of `query_tower(x)` and `candidate_tower(y)`, by default their cosine. Candidates that were never
    seen in training get vectors as well: by their other columns.

    **The schema says what belongs where**: columns with the tag user, context, session or sequence are a query's,
    and so are lists of past items that share a table with the candidate's id; those with item or item_id are a
    candidate's.

    Args:
        schema: `loader.schema`, with columns of a query, and of a candidate one with the tag item_id.
        embedding_dim: the width of all embeddings; None takes each column's own suggestion.
        query_units: widths of the query's tower, whose last layer is linear.
        candidate_units: of the candidate's; the last width is the same.
        similarity: "cosine", "dot", or "l2", minus the squared distance.
        dropout: in the towers.
        id_dropout: the share of a training batch's candidates that are encoded as if their id were unknown, so
            that the tower learns to do without it, as it must for new items. Their other columns stay.
        candidate_columns, item_id, embed_item_id, **kwargs: as in `RetrievalModel`, as are inputs, output and
            other errors.

    Raises:
        ValueError: the towers end in different widths, or `id_dropout` is outside [0, 1) or has no id to drop.

    Example:

    >>> model = kr.models.TwoTower(train.schema, 64, query_units=[128, 64], candidate_units=[128, 64])
    >>> model.compile(loss=kr.losses.InBatchSoftmax(temperature=0.05))
    >>> model.fit(train)
    >>> model.encode_queries({"user": np.array([3])}).shape
    (1, 64)

    Source: Huang et al., "Learning Deep Structured Semantic Models for Web Search using Clickthrough Data", CIKM
    2013; Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019,
    https://doi.org/10.1145/3298689.3346996; id_dropout: Volkovs et al., "DropoutNet: Addressing Cold Start in
    Recommender Systems", NeurIPS 2017
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int | None = 64,
        query_units: int | Sequence[int] = (128, 64),
        candidate_units: int | Sequence[int] = (128, 64),
        similarity: Similarity = "cosine",
        dropout: float = 0.0,
        id_dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, similarity, **kwargs)
        self.query_units = widths(self.name, "query_units", query_units)
        self.candidate_units = widths(self.name, "candidate_units", candidate_units)
        if self.query_units[-1] != self.candidate_units[-1]:
            raise ValueError(
                f"{self.name}: the towers must end in one width, since their vectors are compared; got "
                f"query_units={list(self.query_units)} and candidate_units={list(self.candidate_units)}"
            )
        if not 0 <= id_dropout < 1:
            raise ValueError(f"{self.name}: id_dropout must be in [0, 1); got {id_dropout!r}")
        if id_dropout and (not self.embed_item_id or len(self.candidate_schema) == 1):
            raise ValueError(
                f"{self.name}: id_dropout={id_dropout} needs a candidate with an embedded id and other columns; "
                f"it has {', '.join(self.candidate_schema.names)}, embed_item_id={self.embed_item_id}"
            )
        self.dropout, self.id_dropout = dropout, id_dropout
        self.query_tower = self.make_tower(self.query_units, dropout, "query_tower")
        self.candidate_tower = self.make_tower(self.candidate_units, dropout, "candidate_tower")
        chain((None, self.width_of(self.query_schema)), self.query_tower)
        chain((None, self.width_of(self.candidate_schema)), self.candidate_tower)
        self.built = True

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> dict[str, Tensor]:
        if training and self.id_dropout:
            ids = present(features, self.item_id)
            is_dropped = keras.random.uniform(ops.shape(ids), seed=self._generator) < self.id_dropout
            features = {**features, self.item_id: ops.where(is_dropped, ops.cast(UNKNOWN, ids.dtype), ids)}
        return super().call(features, training)

    @property
    def vector_dim(self) -> int:
        return self.query_units[-1]

    def query_of(self, vectors: Mapping[str, Tensor], numbers: Tensor | None, training: bool | None) -> Tensor:
        return self.query_tower(self.side_by_side(vectors, numbers), training=training)

    def candidate_of(self, vectors: Mapping[str, Tensor], numbers: Tensor | None, training: bool | None) -> Tensor:
        return self.candidate_tower(self.side_by_side(vectors, numbers), training=training)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "query_units": list(self.query_units),
            "candidate_units": list(self.candidate_units),
            "dropout": self.dropout,
            "id_dropout": self.id_dropout,
        }
