"""DLRM: embeddings and a dense tower that meet in pairwise dot products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers import DotInteraction
from kerasrec.models.base import SchemaModel, chain
from kerasrec.schema import Schema, SchemaError


@keras.saving.register_keras_serializable("kerasrec")
class DLRM(SchemaModel):
    """Deep learning recommendation model.

    With `e_c` the embedding of categorical column `c` and `x` the continuous columns:
    `d = bottom(x)`, `z = [d, all dot products of pairs out of (d, e_1 .. e_n)]`, `logit = w . top(z) + b`.
    Without continuous columns there is no bottom tower and `z` is the dot products alone.

    Args:
        schema: what a `kr.Loader` carries as `.schema`; at least one categorical column and one target.
        embedding_dim: the width of all embeddings.
        bottom_units: widths of the tower over the continuous columns; the last must equal `embedding_dim`. None
            is `[512, 256, embedding_dim]`.
        top_units: widths of the tower over the interactions; the layer that makes the logit comes after it.
        dropout: in the top tower.
        task: "binary" or "regression"; None goes by the target's tag.

    Inputs: a dict of columns by name; columns that the schema does not list are left alone. Scalar columns are
        `(batch,)` or `(batch, 1)`, list columns ids `(batch, hotness)` padded with 0, or ragged.

    Output: `(batch, 1)` float32: a probability, or a plain number for regression.

    Raises:
        SchemaError: a schema that the model cannot be built from; names the column.
        ValueError: widths that do not fit, or a batch that lacks a column.

    Example:

    >>> train = kr.Loader("train/", batch_size=4096)
    >>> model = kr.models.DLRM(train.schema, embedding_dim=32, bottom_units=[512, 256, 32], top_units=[512, 256])
    >>> model.compile(kr.optimizers.Adagrad(0.01), loss="binary_crossentropy", metrics=[keras.metrics.AUC()])
    >>> model.fit(train)

    Source: Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems",
    https://arxiv.org/abs/1906.00091
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int = 32,
        bottom_units: Sequence[int] | None = None,
        top_units: Sequence[int] = (512, 256),
        dropout: float = 0.0,
        task: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        self.bottom_units = (512, 256, embedding_dim) if bottom_units is None else tuple(bottom_units)
        self.top_units, self.dropout = tuple(top_units), dropout
        if self.bottom_units[-1:] != (embedding_dim,):
            raise ValueError(
                f"{self.name}: bottom_units must end in embedding_dim, {embedding_dim}, since the bottom tower's "
                f"output is multiplied with the embeddings; it is {list(self.bottom_units)}"
            )
        vectors = len(self.widths) + (self.continuous is not None)
        if self.embeddings is None or vectors < 2:
            raise SchemaError(
                "DLRM needs a categorical column and another column to interact with it; the schema has "
                f"{self.schema.features.categorical.names} and {self.schema.features.continuous.names}"
            )
        self.bottom = None
        if self.continuous is not None:
            self.bottom = self.make_tower(self.bottom_units, 0.0, "bottom")
            chain((None, len(self.continuous.columns)), self.bottom)
        self.interaction = DotInteraction(dtype=self.dtype_policy, name="interaction")
        self.top = self.make_tower(self.top_units, dropout, "top")
        self.logit = self.make_logit()
        _, pairs = chain([(None, embedding_dim)] * vectors, self.interaction)
        chain((None, pairs + (embedding_dim if self.bottom else 0)), self.top, self.logit)
        self.build()

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        ids, x = self.inputs_of(features)
        vectors = self.embed(ids)
        if self.bottom is None:
            z = self.interaction(vectors)
        else:
            d = self.bottom(x, training=training)
            z = ops.concatenate([d, self.interaction([d, *vectors])], axis=1)
        return self.answer(self.logit(self.top(z, training=training)))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "bottom_units": list(self.bottom_units),
            "top_units": list(self.top_units),
            "dropout": self.dropout,
        }
