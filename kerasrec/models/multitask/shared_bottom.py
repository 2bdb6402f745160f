"""SharedBottom: one tower that all targets share, and one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers.experts.parallel_mlp import ParallelMLP
from kerasrec.layers.mlp import widths
from kerasrec.models.base import SchemaModel, chain
from kerasrec.schema import Schema
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class SharedBottom(SchemaModel):
    """A tower that all targets share, and a tower for each target on top of it.

    With `x` the continuous columns and embeddings side by side: `logit_k = w_k . tower_k(bottom(x)) + b_k`.

    Args:
        schema: `loader.schema`; categorical or continuous columns, or both, and one or more targets.
        embedding_dim: the width of all embeddings; None takes each column's own suggestion.
        deep_units: widths of the bottom, which is shared.
        tower_units: widths of each target's tower.
        dropout: in the bottom and the towers.
        task: "binary" or "regression", or a dict of these by target; by default by the target's tag.

    Inputs, output, errors and `**kwargs` are `DLRM`'s.

    Example:

    >>> model = kr.models.SharedBottom(train.schema, deep_units=[256, 128], tower_units=[64])

    Source: Caruana, "Multitask Learning", Machine Learning 28, 1997, https://doi.org/10.1023/A:1007379606734
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int | None = 16,
        deep_units: int | Sequence[int] = (256, 128),
        tower_units: int | Sequence[int] = (64,),
        dropout: float = 0.0,
        task: str | Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(schema, embedding_dim, task, **kwargs)
        self.deep_units = widths(self.name, "deep_units", deep_units)
        self.tower_units, self.dropout = widths(self.name, "tower_units", tower_units), dropout
        targets = len(self.targets)
        self.bottom = self.make_tower(self.deep_units, dropout, "bottom")
        self.towers = self.make_parallel(targets, self.tower_units, dropout, "towers")
        self.logit = ParallelMLP(targets, 1, final_activation=None, dtype="float32", name="logit")
        chain((None, self.side_by_side_width), self.bottom, self.towers, self.logit)
        self.built = True  # not by `build()`, after which subclasses could not add weights

    def call(self, features: Mapping[str, Tensor], training: bool | None = None) -> Tensor | dict[str, Tensor]:
        ids, x = self.inputs_of(features)
        shared = self.bottom(self.side_by_side(x, self.embed(ids)), training=training)
        towers = self.towers(shared, training=training)
        return self.answer(ops.squeeze(self.logit(towers), axis=-1))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "deep_units": list(self.deep_units),
            "tower_units": list(self.tower_units),
            "dropout": self.dropout,
        }
