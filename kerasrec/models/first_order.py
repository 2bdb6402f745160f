"""The linear part of a model: one weight per id and one per continuous column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from kerasrec.layers import DistributedEmbedding
from kerasrec.schema import Schema
from kerasrec.tables.from_schema import embedding_features


@keras.saving.register_keras_serializable("kerasrec")
class FirstOrder(keras.layers.Layer):
    """`b + sum_c w_c[id_c] + sum_j u_j x_j` over the categorical columns c and the continuous columns j.

    The weights `w_c` are tables, named after the column's table with `_linear` added, and begin at
    zero. A list column counts with the combination of its ids' weights. Always float32: it is part of a logit.

    Args:
        schema: the columns to read.
        combiner, regularizer: of the tables, as in `SchemaModel`.
        units: how many such sums there are, each with weights of its own; the tables have that width.

    Inputs: `ids`, a dict of ids by column (empty if there are none), and `x`, the continuous columns
        `(batch, n)` or None.

    Output: `(batch, units)` float32.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        combiner: str | Mapping[str, str] = "mean",
        regularizer: Any = None,
        units: int = 1,
        **kwargs: Any,
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self._given = (combiner, regularizer)  # in a tuple, in which Keras does not wrap a dict
        self.units = units
        features = embedding_features(self.schema, units, combiner, "zeros", "_linear", regularizer)
        self.tables = DistributedEmbedding(features, dtype="float32", name="tables") if features else None

    def build(self, ids_shape: Any, x_shape: Any = None) -> None:
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        if self.tables is not None:
            self.tables.build(ids_shape)
        if x_shape is not None:
            self.kernel = self.add_weight(name="kernel", shape=(x_shape[-1], self.units), initializer="zeros")

    def call(self, ids: Mapping[str, Any], x: Any = None) -> Any:
        terms = [] if self.tables is None else list(self.tables(ids).values())
        if x is not None:
            terms.append(ops.matmul(x, self.kernel))
        weights = ops.reshape(ops.concatenate(terms, axis=1), (-1, len(terms), self.units))
        return ops.sum(weights, axis=1) + self.bias

    def compute_output_shape(self, ids_shape: Any, x_shape: Any = None) -> tuple[int | None, int]:
        return (None, self.units)

    def get_config(self) -> dict[str, Any]:
        combiner, regularizer = self._given
        return {
            **super().get_config(),
            "schema": self.schema.to_dict(),
            "combiner": combiner,
            "regularizer": regularizer,
            "units": self.units,
        }
