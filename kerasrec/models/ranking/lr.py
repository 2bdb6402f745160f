"""LR: logistic regression over ids and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from kerasrec.models.base import SchemaModel
from kerasrec.schema import Schema
from kerasrec.tables.config import FeatureConfig
from kerasrec.typing import Regularizer, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class LR(SchemaModel):
    """Logistic regression; linear regression for a regression target.

    `logit = b + sum_c w_c[id_c] + sum_j u_j x_j` over the categorical columns c and the continuous columns j: one
    weight per id and per number, and no interactions. A list column counts with the combination of its ids'
    weights. Each of several targets has weights of its own. All weights begin at zero.

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.
        combiner, embeddings_regularizer: of the weights of ids, as every model takes them for its tables.
        seed: as every model takes it; this one has no random initial values.
        name, dtype, trainable: as in any Keras layer. All weights are float32 under every policy.

    Inputs, output and errors are `DLRM`'s. There are no embeddings and no towers, so their other arguments are
    not accepted.

    Example:

    >>> model = kr.models.LR(train.schema)

    Source: Richardson et al., "Predicting Clicks: Estimating the Click-Through Rate for New Ads", WWW 2007
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        task: str | Mapping[str, str] | None = None,
        *,
        combiner: str | Mapping[str, str] = "mean",
        embeddings_regularizer: Regularizer | None = None,
        seed: int | None = None,
        name: str | None = None,
        dtype: str | Mapping[str, Any] | keras.DTypePolicy | None = None,
        trainable: bool = True,
    ):
        super().__init__(
            schema,
            None,
            task,
            combiner=combiner,
            embeddings_regularizer=embeddings_regularizer,
            seed=seed,
            name=name,
            dtype=dtype,
            trainable=trainable,
        )
        self.first_order = self.make_first_order("first_order")
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def table_features(self) -> dict[str, FeatureConfig]:
        return {}

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        return self.answer(self.first_order(*self.inputs_of(features)))

    def get_config(self) -> dict[str, Any]:
        others = ("embedding_dim", "embeddings_initializer", *self.options.tower())
        return {name: value for name, value in super().get_config().items() if name not in others}
