"""NeuMF: matrix factorisation and a deep tower, side by side."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasrec.layers import DistributedEmbedding
from kerasrec.layers.mlp import at_least_one, widths
from kerasrec.models.base import SchemaModel, chain
from kerasrec.models.retrieval.columns import TowerColumns
from kerasrec.schema import Schema, SchemaError
from kerasrec.tables.config import FeatureConfig
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class NeuMF(SchemaModel):
    """Neural matrix factorisation: a generalised product of two vectors beside a tower over two others.

    With the embeddings `p` of a user and `q` of an item, and `p'` and `q'` of tables of the tower's own,
    `logit = w . [p * q, tower([p', q'])] + b`, where `*` is elementwise. Of several columns of a user, or of an
    item, `p` and `q` are sums, and the tower reads all of them.

    It is trained on rows with a target of 0 and 1: negatives come from `etl.NegativeSampling`, or are drawn anew
    for each batch with `train.map(kr.data.DrawNegatives(...))`.

    Args:
        schema: `loader.schema`, with categorical columns of a user and of an item, told apart as in `TwoTower`,
            and one or more targets.
        embedding_dim: the width of `p` and `q`; 0 leaves the product out.
        units: widths of the tower; `()` leaves it out.
        tower_embedding_dim: the width of `p'` and `q'`.
        dropout: in the tower.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.
        candidate_columns: the item's columns, where tags do not say it.

    Inputs, output, other errors and `**kwargs` are `DLRM`'s.

    Raises:
        SchemaError: a continuous column, or it is unclear whose a column is.
        ValueError: both parts are left out.

    Example, with the pre-training of the paper:

    >>> gmf = kr.models.NeuMF(train.schema, 8, units=())
    >>> mlp = kr.models.NeuMF(train.schema, 0, units=[32, 16, 8])
    >>> model = kr.models.NeuMF(train.schema, 8, units=[32, 16, 8])
    >>> model.start_from(gmf, mlp)  # both are fitted by then

    Source: He et al., "Neural Collaborative Filtering", https://arxiv.org/abs/1708.05031
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int = 8,
        units: int | Sequence[int] = (32, 16, 8),
        tower_embedding_dim: int = 32,
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        *,
        candidate_columns: Collection[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        columns = TowerColumns.of(self.name, self.schema, candidate_columns)
        if numbers := self.schema.features.continuous.names:
            raise SchemaError(
                f"{self.name} reads embeddings, which the continuous column {numbers[0]!r} does not have; make it "
                "categorical with etl.Bucketize, or leave it out"
            )
        if not embedding_dim and units == ():
            raise ValueError(f"{self.name}: embedding_dim=0 and units=() leave nothing of the model")
        self.sides = (tuple(columns.queries.names), tuple(columns.candidates.names))
        self.units = () if isinstance(units, Sequence) and not units else widths(self.name, "units", units)
        self.tower_embedding_dim = at_least_one(self.name, "tower_embedding_dim", tower_embedding_dim)
        self.dropout, self.tower = dropout, None
        if self.units:
            configs = self.options.features(self.schema, tower_embedding_dim, suffix="_tower")
            self.tower_embeddings = DistributedEmbedding(
                configs, self.seed, dtype=self.dtype_policy, name="tower_embeddings"
            )
            self.tower_embeddings.build(dict.fromkeys(configs, (None,)))
            self.tower = self.make_tower(self.units, dropout, "tower")
            chain((None, tower_embedding_dim * len(configs)), self.tower)
        self.logit = self.make_logit()
        self.logit.build((None, embedding_dim + (self.units[-1] if self.units else 0)))
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def table_features(self) -> dict[str, FeatureConfig]:
        return super().table_features() if self.embedding_dim else {}

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, _ = self.inputs_of(features)
        parts = []
        if self.embeddings is not None:
            vectors = self.embeddings(ids, training=training)
            p, q = (sum((vectors[name] for name in rest), vectors[first]) for first, *rest in self.sides)
            parts.append(p * q)
        if self.tower is not None:
            vectors = self.tower_embeddings(ids, training=training)
            parts.append(self.tower(ops.concatenate(list(vectors.values()), axis=1), training=training))
        return self.answer(self.logit(ops.concatenate(parts, axis=1)))

    def start_from(self, product: NeuMF, tower: NeuMF, alpha: float = 0.5) -> None:
        """Take over the weights of two fitted models, of which one has the product alone, the other the tower.

        The last layer begins as `w = [alpha w_product, (1 - alpha) w_tower]`. On several ranks each calls it.

        Raises:
            ValueError: the parts are not those of this model.
        """
        if product.tower is not None or tower.embeddings is not None or not self.embeddings or not self.tower:
            raise ValueError(
                f"{self.name}: start_from takes a model of the product, NeuMF(..., units=()), and one of the "
                "tower, NeuMF(..., embedding_dim=0), for a model of both"
            )
        pairs: list[tuple[Any, Any]] = [
            (self.embeddings, product.embeddings),
            (self.tower_embeddings, tower.tower_embeddings),
            (self.tower, tower.tower),
        ]
        for own, other in pairs:
            shapes = [[tuple(weight.shape) for weight in layer.weights] for layer in (own, other)]
            if shapes[0] != shapes[1]:
                raise ValueError(f"{self.name}: {own.name} has weights {shapes[0]}, but {shapes[1]} in the other")
            for weight, fitted in zip(own.weights, other.weights, strict=True):
                weight.assign(fitted)
        kernels = np.concatenate([alpha * product.logit.kernel, (1 - alpha) * tower.logit.kernel])
        self.logit.set_weights([kernels, alpha * product.logit.bias + (1 - alpha) * tower.logit.bias])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": list(self.units),
            "tower_embedding_dim": self.tower_embedding_dim,
            "dropout": self.dropout,
            "candidate_columns": list(self.sides[1]),
        }
