"""The crossed columns of a linear model: one weight per combination of ids."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.layers import CrossedIds, DistributedEmbedding
from kerasrec.schema import Schema, SchemaError
from kerasrec.tables.config import FeatureConfig, TableConfig
from kerasrec.tables.from_schema import embedding_features
from kerasrec.typing import Regularizer, Shape, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class CrossedColumns(keras.layers.Layer):
    """Computes `sum_k w_k[ids of the columns of cross k]`: one weight per combination of ids of several columns.

    The weights are tables, named after the columns (`city_x_genre_cross`), and begin at zero. With list columns
    the weights of all combinations are combined as the lists are. Always float32: it is part of a logit.

    Args:
        schema: it has the columns.
        crosses: the columns of each cross, as `checked_crosses` takes them.
        buckets: how many combinations a cross may have without sharing weights, as in `kr.layers.CrossedIds`.
        combiner, regularizer: of the tables, as in `SchemaModel`; a regularizer that is a dict by column is not
            applied.
        units: how many such sums there are, each with weights of its own.

    Inputs: a dict of ids by column.

    Output: `(batch, units)` float32.

    Raises:
        SchemaError: the list columns of a cross have different combiners.
        ValueError: as `checked_crosses` and `kr.layers.CrossedIds`.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        crosses: Sequence[Sequence[str]],
        buckets: int,
        combiner: str | Mapping[str, str] = "mean",
        regularizer: Regularizer | None = None,
        units: int = 1,
        **kwargs: Any,
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self.crosses = checked_crosses(self.schema, crosses)
        self.buckets, self.units = buckets, units
        self._given = (combiner, regularizer)  # in a tuple, in which Keras does not wrap a dict
        columns = embedding_features(self.schema, units, combiner)
        by_column = isinstance(regularizer, Mapping) and "class_name" not in regularizer
        self.crossed_ids: list[CrossedIds] = []
        features = {}
        for i, names in enumerate(self.crosses, 1):
            name = "_x_".join(names)
            configs = [columns[each] for each in names]
            ids = CrossedIds([c.table.vocabulary_size for c in configs], buckets, name=f"cross_{i}")
            self.crossed_ids.append(ids)
            features[name] = FeatureConfig(
                name,
                TableConfig(
                    f"{name}_cross",
                    ids.cardinality,
                    units,
                    self._combiner(names, configs),
                    "zeros",
                    regularizer=None if by_column else regularizer,
                ),
                math.prod(config.hotness for config in configs),
            )
        self.tables = DistributedEmbedding(features, dtype="float32", name="tables")

    def _combiner(self, names: Sequence[str], configs: Sequence[FeatureConfig]) -> str:
        """Return the combiner of a cross's list columns."""
        lists = {n: c.table.combiner for n, c in zip(names, configs, strict=True) if self.schema[n].is_list}
        if len(set(lists.values())) > 1:
            raise SchemaError(f"crosses: the lists of one cross must have one combiner; got {lists}")
        return next(iter(lists.values()), None) or "mean"

    def build(self, ids_shape: Mapping[str, Shape]) -> None:
        for layer, names in zip(self.crossed_ids, self.crosses, strict=True):
            layer.build([ids_shape[name] for name in names])
        self.tables.build(dict.fromkeys(self.tables.features, (None,)))

    def call(self, ids: Mapping[str, Tensor]) -> Tensor:
        layers = zip(self.tables.features, self.crossed_ids, self.crosses, strict=True)
        crossed = {name: layer([ids[column] for column in columns]) for name, layer, columns in layers}
        return ops.sum(ops.stack(list(self.tables(crossed).values()), axis=1), axis=1)

    def compute_output_shape(self, ids_shape: Mapping[str, Shape]) -> tuple[int | None, int]:
        return (None, self.units)

    def get_config(self) -> dict[str, Any]:
        combiner, regularizer = self._given
        return {
            **super().get_config(),
            "schema": self.schema.to_dict(),
            "crosses": [list(names) for names in self.crosses],
            "buckets": self.buckets,
            "combiner": combiner,
            "regularizer": regularizer,
            "units": self.units,
        }


def checked_crosses(schema: Schema, crosses: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Return the columns of each cross: a list of lists of two or more categorical columns of the schema.

    Raises:
        ValueError: anything else, a column twice in a cross, or a cross twice.
    """
    if isinstance(crosses, str) or any(isinstance(names, str) for names in crosses):
        raise ValueError(
            f"crosses must be a list of lists of columns, such as [['city', 'genre']]; got {crosses!r}"
        )
    available = schema.features.categorical.names
    seen: list[set[str]] = []
    for names in crosses:
        for name in names:
            if name not in available:
                raise ValueError(
                    f"crosses: no categorical column {name!r} in the schema; available: {', '.join(available)}"
                )
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(f"crosses: a cross must name two or more different columns; got {list(names)}")
        if set(names) in seen:
            raise ValueError(f"crosses: {list(names)} is given twice")
        seen.append(set(names))
    return tuple(tuple(names) for names in crosses)
