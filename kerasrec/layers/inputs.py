"""From a schema to what a network reads: ids of the features to embed, the continuous columns as one tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kerasrec.schema import Column, Schema, SchemaError


def ids_of(schema: Schema, features: Mapping[str, Any]) -> dict[str, Any]:
    """The ids of a schema's categorical columns out of a batch, fit for `DistributedEmbedding`.

    Args:
        schema: its categorical columns that are not targets are read.
        features: a batch: name -> `(batch,)` or `(batch, 1)`; for a list column `(batch, hotness)` padded with 0,
            or a `tf.RaggedTensor`.

    Raises:
        ValueError: a missing column, or one whose rank does not fit the schema; names it.
    """
    return {column.name: _ids(column, features) for column in schema.features.categorical}


def _ids(column: Column, features: Mapping[str, Any]) -> Any:
    ids = present(features, column.name)
    shape = tuple(ids.shape)
    if column.is_list:
        if len(shape) != 2:
            raise ValueError(
                f"column {column.name!r} is a list column: it needs padded ids (batch, hotness) or "
                f"a ragged tensor, not shape {shape}"
            )
        # A lone id column reads as one-hot, where 0 is an id like others; in a list 0 is padding.
        alone = shape[1] == 1 and not hasattr(ids, "row_splits")
        return ops.pad(ids, [[0, 0], [0, 1]]) if alone else ids
    if len(shape) != 1 and shape[1:] != (1,):
        raise ValueError(
            f"column {column.name!r} is not a list column in the schema: it needs ids (batch,), not shape {shape}"
        )
    return ids


def present(features: Mapping[str, Any], name: str) -> Any:
    """`features[name]` as a tensor, or a `ValueError` that names it."""
    if not isinstance(features, Mapping):
        raise ValueError(f"the features must be a dict of columns by name, not {type(features).__name__}")
    if name not in features:
        raise ValueError(f"the batch lacks column {name!r}; it has: {', '.join(sorted(features))}")
    value = features[name]
    return value if hasattr(value, "shape") else ops.convert_to_tensor(value)


@keras.saving.register_keras_serializable("kerasrec")
class ContinuousInputs(keras.layers.Layer):
    """The continuous columns of a batch side by side, as float32.

    Args:
        columns: the columns' names, in the order of the output.

    Inputs: a dict of columns, each `(batch,)` or `(batch, 1)`; others in it are left alone.

    Output: `(batch, len(columns))` float32, also under a mixed policy: a raw value needs its digits.

    Raises:
        ValueError: a missing column, or one of another shape; names it.

    Example:

    >>> layer = kr.layers.ContinuousInputs(["age", "price"])
    >>> layer({"age": np.array([0.5, 1.5]), "price": np.array([3, 4])}).shape
    (2, 2)
    """

    def __init__(self, columns: Sequence[str], **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.columns = tuple(columns)
        if not self.columns:
            raise ValueError(f"{self.name}: needs at least one column")

    @classmethod
    def of(cls, schema: Schema, **kwargs: Any) -> ContinuousInputs | None:
        """For a schema's continuous columns that are not targets; None where it has none.

        Raises `SchemaError` for a continuous list column or one that is not of numbers.
        """
        columns = schema.features.continuous
        for column in columns:
            if column.is_list:
                raise SchemaError(f"column {column.name!r} is a continuous list column; models read scalars")
            if column.dtype == "string":
                raise SchemaError(f"column {column.name!r} is continuous but of strings")
        return cls(columns.names, **kwargs) if len(columns) else None

    def call(self, inputs: Mapping[str, Any]) -> Any:
        return ops.concatenate([self._column(inputs, name) for name in self.columns], axis=1)

    def _column(self, inputs: Mapping[str, Any], name: str) -> Any:
        value = present(inputs, name)
        if len(value.shape) != 1 and tuple(value.shape[1:]) != (1,):
            raise ValueError(f"continuous column {name!r} needs shape (batch,), not {tuple(value.shape)}")
        return ops.reshape(ops.cast(value, "float32"), (-1, 1))

    def compute_output_shape(self, input_shape: Mapping[str, Any]) -> tuple[int | None, int]:
        return (input_shape[self.columns[0]][0], len(self.columns))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "columns": list(self.columns)}
