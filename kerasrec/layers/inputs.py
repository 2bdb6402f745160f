"""The inputs of a network by its schema: ids of the features to embed, continuous columns as one tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.schema import Column, Schema, SchemaError
from kerasrec.typing import Tensor


def ids_of(schema: Schema, features: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ids of a schema's categorical columns in a batch, as `DistributedEmbedding` takes them.

    Args:
        schema: its categorical columns that are not targets are read.
        features: a batch: name -> `(batch,)` or `(batch, 1)`; for a list column `(batch, hotness)` padded with 0,
            or a `tf.RaggedTensor`.

    Raises:
        ValueError: a column is missing, or its rank does not fit the schema; the message names it.
    """
    return {column.name: _ids(column, features) for column in schema.features.categorical}


def _ids(column: Column, features: Mapping[str, Any]) -> Any:
    ids = present(features, column.name)
    shape = tuple(ids.shape)
    if column.is_list:
        if len(shape) != 2:
            raise ValueError(
                f"column {column.name!r} is a list column, so it must be padded ids (batch, hotness) or a ragged "
                f"tensor; got shape {shape}"
            )
        # A lone id column reads as one-hot, where 0 is an id like others; in a list 0 is padding.
        alone = shape[1] == 1 and not hasattr(ids, "row_splits")
        return ops.pad(ids, [[0, 0], [0, 1]]) if alone else ids
    if len(shape) != 1 and shape[1:] != (1,):
        raise ValueError(
            f"column {column.name!r} is not a list column in the schema, so its ids must have shape (batch,); "
            f"got {shape}"
        )
    return ids


def present(features: Mapping[str, Any], name: str) -> Any:
    """Return `features[name]` as a tensor, or raise a `ValueError` that names the column."""
    if not isinstance(features, Mapping):
        raise ValueError(f"features must be a dict of columns by name; got {type(features).__name__}")
    if name not in features:
        raise ValueError(f"no column {name!r} in the batch; available: {', '.join(sorted(features))}")
    value = features[name]
    return value if hasattr(value, "shape") else ops.convert_to_tensor(value)


@keras.saving.register_keras_serializable("kerasrec")
class ContinuousInputs(keras.layers.Layer):
    """Concatenates the continuous columns of a batch, as float32.

    Args:
        columns: the columns' names, in the order of the output.

    Inputs: a dict of columns, each `(batch,)` or `(batch, 1)`; others in it are left alone.

    Output: `(batch, len(columns))` float32, also under a mixed policy: a raw value needs its digits.

    Raises:
        ValueError: a column is missing or has another shape; the message names it.

    Example:

    >>> layer = kr.layers.ContinuousInputs(["age", "price"])
    >>> layer({"age": np.array([0.5, 1.5]), "price": np.array([3, 4])}).shape
    (2, 2)
    """

    def __init__(self, columns: Sequence[str], **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.columns = tuple(columns)
        if not self.columns:
            raise ValueError(f"{self.name}: columns must name at least one column")

    @classmethod
    def of(cls, schema: Schema, **kwargs: Any) -> ContinuousInputs | None:
        """Return a layer for a schema's continuous columns that are not targets; None if there are none.

        Raises `SchemaError` for a continuous list column or one that is not of numbers.
        """
        columns = schema.features.continuous
        for column in columns:
            if column.is_list:
                raise SchemaError(
                    f"column {column.name!r} is a continuous list column, which models cannot read; reduce it to "
                    "one number per row"
                )
            if column.dtype == "string":
                raise SchemaError(
                    f"column {column.name!r} is continuous, but its values are strings; make them numbers, or ids "
                    "with etl.Categorify"
                )
        return cls(columns.names, **kwargs) if len(columns) else None

    def call(self, inputs: Mapping[str, Any]) -> Tensor:
        return ops.concatenate([self._column(inputs, name) for name in self.columns], axis=1)

    def _column(self, inputs: Mapping[str, Any], name: str) -> Any:
        value = present(inputs, name)
        if len(value.shape) != 1 and tuple(value.shape[1:]) != (1,):
            raise ValueError(f"continuous column {name!r} must have shape (batch,); got {tuple(value.shape)}")
        return ops.reshape(ops.cast(value, "float32"), (-1, 1))

    def compute_output_shape(self, input_shape: Mapping[str, Any]) -> tuple[int | None, int]:
        return (input_shape[self.columns[0]][0], len(self.columns))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "columns": list(self.columns)}
