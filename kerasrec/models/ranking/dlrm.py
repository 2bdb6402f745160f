"""DLRM: embeddings and a dense tower that meet in pairwise dot products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers import DotInteraction
from kerasrec.layers.mlp import widths
from kerasrec.models.base import SchemaModel, chain
from kerasrec.schema import Schema, SchemaError
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class DLRM(SchemaModel):
    """Deep learning recommendation model.

    With `e_c` the embedding of categorical column `c` and `x` the continuous columns:
    `d = bottom(x)`, `z = [d, all dot products of pairs out of (d, e_1 .. e_n)]`, `logit = w . top(z) + b`.
    Without continuous columns `d` is a trained vector, the bias that a tower of no inputs would be, and `z` is the
    dot products alone. (Without it, `<d, e_c>` missing, two columns would have nothing but the product of their
    small vectors, which has no gradient to speak of to begin with.)

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        embedding_dim: the width of all embeddings.
        bottom_units: widths of the tower over the continuous columns; the last must equal `embedding_dim`. None
            is `[64, embedding_dim]`.
        top_units: widths of the tower over the interactions; the layer that makes the logit comes after it.
        dropout: in the top tower.
        bias_vector: whether `d` is there without continuous columns; a file that does not say was saved without.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.
        **kwargs: of the tables and towers, as every model takes them: `combiner`, `embeddings_initializer`,
            `embeddings_regularizer`, `activation`, `kernel_initializer`, `kernel_regularizer`, `seed`; see
            `kr.models.SchemaModel`. And `name`, `dtype`, `trainable`.

    Inputs: a dict of columns by name; columns that the schema does not list are left alone. Scalar columns are
        `(batch,)` or `(batch, 1)`, list columns ids `(batch, hotness)` padded with 0, or ragged.

    Output: `(batch, 1)` float32: a probability, or a plain number for regression. With several targets a dict of
        such by target: all layers are shared but the last, which has a `w` and `b` for each.

    Raises:
        SchemaError: a schema that the model cannot be built from; names the column.
        ValueError: widths that do not fit, or a batch that lacks a column.

    Example:

    >>> train = kr.Loader("train/", batch_size=4096)
    >>> model = kr.models.DLRM(train.schema, embedding_dim=32, bottom_units=[512, 256, 32], top_units=[512, 256])
    >>> model.compile(kr.optimizers.Adagrad(), loss="binary_crossentropy", metrics=[keras.metrics.AUC()])
    >>> model.fit(train)

    Source: Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems",
    https://arxiv.org/abs/1906.00091
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int = 16,
        bottom_units: int | Sequence[int] | None = None,
        top_units: int | Sequence[int] = (128, 64),
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        bias_vector: bool = True,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        self.bottom_units = (
            (64, embedding_dim) if bottom_units is None else widths(self.name, "bottom_units", bottom_units)
        )
        self.top_units, self.dropout = widths(self.name, "top_units", top_units), dropout
        if self.bottom_units[-1:] != (embedding_dim,):
            raise ValueError(
                f"{self.name}: bottom_units must end in embedding_dim, {embedding_dim}, since the bottom tower's "
                f"output is multiplied with the embeddings; it is {list(self.bottom_units)}"
            )
        self.bias_vector = bias_vector
        self.bottom = self.bias = None
        if self.continuous is not None:
            self.bottom = self.make_tower(self.bottom_units, 0.0, "bottom")
            chain((None, len(self.continuous.columns)), self.bottom)
        elif bias_vector:
            initializer = keras.initializers.RandomNormal(stddev=embedding_dim**-0.5)
            self.bias = self.add_weight(name="bias", shape=(embedding_dim,), initializer=initializer)
        vectors = len(self.widths) + (self.bottom is not None or self.bias is not None)
        if vectors < 2 and self.bottom is None:
            raise SchemaError(
                "DLRM(bias_vector=False) needs a categorical column and another column to interact with it; the "
                f"schema has {self.schema.features.categorical.names}"
            )
        self.interaction = DotInteraction(dtype=self.dtype_policy, name="interaction")
        self.top = self.make_tower(self.top_units, dropout, "top")
        self.logit = self.make_logit()
        _, pairs = chain([(None, embedding_dim)] * vectors, self.interaction)
        chain((None, pairs + (embedding_dim if self.bottom else 0)), self.top, self.logit)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        vectors = self.embed(ids)
        if self.bottom is not None:
            d = self.bottom(x, training=training)
            z = ops.concatenate([d, self.interaction([d, *vectors])], axis=1) if vectors else d
        elif self.bias is not None:
            d = ops.broadcast_to(ops.cast(self.bias, self.compute_dtype), ops.shape(vectors[0]))
            z = self.interaction([d, *vectors])
        else:
            z = self.interaction(vectors)
        return self.answer(self.logit(self.top(z, training=training)))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DLRM:
        return cls(**{"bias_vector": False, **config})

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "bottom_units": list(self.bottom_units),
            "top_units": list(self.top_units),
            "dropout": self.dropout,
            "bias_vector": self.bias_vector,
        }
