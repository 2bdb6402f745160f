"""MatrixFactorization: a query and a candidate are sums of embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from kerasrec.layers.mlp import at_least_one
from kerasrec.models.retrieval.base import RetrievalModel
from kerasrec.retrieval.scores import Similarity
from kerasrec.schema import Schema, SchemaError
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class MatrixFactorization(RetrievalModel):
    """Matrix factorisation of the pairs of a query and a candidate.

    With the embeddings `p_f` of the query's columns and `q_g` of the candidate's the vectors are `p = sum_f p_f`
    and `q = sum_g q_g`, and the score is their dot product, their cosine, or `-|p - q|^2`. Each column may also
    have a bias: `score = p . q + sum_f b_f + sum_g b_g`.

    With a user's and an item's id alone this is the classic model. With more columns it is LightFM's, which knows
    new items by their other columns; with the similarity "l2" it is collaborative metric learning's. A list of
    past items has vectors of its own, other than those that items are found by, as in asymmetric SVD and SVD++.

    Args:
        schema: `loader.schema`, with categorical columns of a query and of a candidate.
        embedding_dim: the width of the vectors.
        similarity: "dot", "cosine", or "l2", minus the squared distance.
        biases: whether columns have biases, for the similarity "dot". They are in the vectors that the encoders
            return, which have two columns more: `[p, 1, b] . [q, b', 1]`.
        candidate_columns, item_id, embed_item_id, **kwargs: as in `RetrievalModel`, as are inputs, output and
            other errors.

    Raises:
        SchemaError: a continuous column.
        ValueError: biases with another similarity, or an option of dense towers.

    Example:

    >>> model = kr.models.MatrixFactorization(train.schema, 64, biases=True)
    >>> model.compile(kr.optimizers.Adam(1e-3), loss=kr.losses.BPR(negatives=4))

    Source: Koren et al., "Matrix Factorization Techniques for Recommender Systems", IEEE Computer 2009,
    https://doi.org/10.1109/MC.2009.263; Kula, "Metadata Embeddings for User and Item Cold-start Recommendations",
    https://arxiv.org/abs/1507.08439; Hsieh et al., "Collaborative Metric Learning", WWW 2017,
    https://doi.org/10.1145/3038912.3052639
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int = 64,
        similarity: Similarity = "dot",
        biases: bool = False,
        **kwargs: Any,
    ):
        dim = at_least_one("MatrixFactorization", "embedding_dim", embedding_dim)
        super().__init__(schema, dim + biases, similarity, id_width=dim + biases, **kwargs)
        self.options.refuse_tower(self.name)
        if numbers := self.schema.continuous.names:
            raise SchemaError(
                f"{self.name} adds embeddings, which the continuous column {numbers[0]!r} does not have; make it "
                "categorical with etl.Bucketize, or use kr.models.TwoTower"
            )
        if biases and similarity != "dot":
            raise ValueError(f"{self.name}: biases are for similarity 'dot'; got {similarity!r}")
        self.dim, self.embedding_dim, self.biases = dim, dim, bool(biases)
        self.built = True

    @property
    def vector_dim(self) -> int:
        return self.dim + 2 * self.biases

    def query_of(self, vectors: Mapping[str, Tensor], numbers: Tensor | None, training: bool | None) -> Tensor:
        p = _sum(vectors)
        if not self.biases:
            return p
        p, bias = ops.split(p, [self.dim], axis=1)
        return ops.concatenate([p, ops.ones_like(bias), bias], axis=1)

    def candidate_of(self, vectors: Mapping[str, Tensor], numbers: Tensor | None, training: bool | None) -> Tensor:
        q = _sum(vectors)  # ends with the bias: of many negatives it is not taken out and put back
        return ops.concatenate([q, ops.ones_like(q[:, :1])], axis=1) if self.biases else q

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "biases": self.biases}


def _sum(vectors: Mapping[str, Tensor]) -> Tensor:
    first, *others = vectors.values()
    return sum(others, first)
