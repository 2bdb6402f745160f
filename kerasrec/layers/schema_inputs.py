"""`inputs`: the Keras inputs, embeddings and numbers of a schema, to build a functional model on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
from keras import ops

from kerasrec.layers.embedding.bags import is_ragged
from kerasrec.layers.embedding.distributed_embedding import DistributedEmbedding
from kerasrec.layers.inputs import ContinuousInputs
from kerasrec.schema import Column, Schema, SchemaError, Tag
from kerasrec.tables.from_schema import embedding_features
from kerasrec.typing import Initializer, Regularizer, Tensor


@dataclass(frozen=True, repr=False)
class SchemaInputs:
    """The inputs of a functional model and what is made of them, by column, as `inputs` returns them.

    Attributes:
        inputs: a `keras.Input` for each feature: a batch of a `kr.Loader` with the same schema fits them.
        embeddings: of each categorical column `(batch, dim)`, or `(batch, length, dim)` with a mask if its vectors
            are not combined.
        numbers: the continuous columns `(batch, columns)` float32, in the schema's order; None if there are none.
        vectors: of each column of lists of one width, such as stored embeddings, `(batch, width)`.
    """

    inputs: dict[str, keras.KerasTensor]
    embeddings: dict[str, keras.KerasTensor]
    numbers: keras.KerasTensor | None
    vectors: dict[str, keras.KerasTensor]

    @cached_property
    def concatenated(self) -> keras.KerasTensor:
        """Numbers, vectors and embeddings side by side, `(batch, width)`.

        Raises `ValueError` if vectors of a column are not combined.
        """
        if sequences := [name for name, tensor in self.embeddings.items() if len(tensor.shape) == 3]:
            raise ValueError(
                f"{', '.join(sequences)}: (batch, length, dim) cannot be concatenated with (batch, dim); reduce "
                "it with a layer, such as keras.layers.GlobalAveragePooling1D, and use keras.layers.Concatenate"
            )
        numbers = [] if self.numbers is None else [self.numbers]
        parts = [*numbers, *self.vectors.values(), *self.embeddings.values()]
        return parts[0] if len(parts) == 1 else keras.layers.Concatenate()(parts)

    def __repr__(self) -> str:
        lines = [f"SchemaInputs of {len(self.inputs)} columns"]
        for name, tensor in self.inputs.items():
            given = f"{name}: {tensor.dtype} {_shape(tensor)}"
            vector = self.embeddings.get(name, self.vectors.get(name))
            lines.append(f"{given} -> {'numbers' if vector is None else _shape(vector)}")
        return "\n  ".join(lines)


def inputs(
    schema: Schema | Mapping[str, Any],
    embedding_dim: int | None = 16,
    *,
    combiner: str | Mapping[str, str | None] = "mean",
    embeddings_initializer: Initializer = "uniform",
    embeddings_regularizer: Regularizer | None = None,
    seed: int | None = None,
    dtype: str | keras.dtype_policies.DTypePolicy | None = None,
) -> SchemaInputs:
    """Return Keras inputs for the features of a schema, with their embeddings and numbers.

    A `kr.parallel.Model` of these inputs trains on a `kr.Loader`, is saved, loaded, and exported with
    `kr.serving.export`. Columns that are neither categorical nor continuous are left out, as `kr.models` do.

    Args:
        schema: `loader.schema`, or its `to_dict()`; targets and weights are not inputs.
        embedding_dim: the width of all embeddings; None takes the one that each column suggests.
        combiner: how the vectors of a list become one: "mean", "sum", "sqrtn"; or a dict by the name of a column
            or table, in which None keeps the vectors of a list apart, padded to the batch's longest list.
        embeddings_initializer, embeddings_regularizer: of the tables, as in `kr.models`.
        seed: of the tables' initial values.
        dtype: of the embeddings: a Keras dtype policy.

    Raises:
        SchemaError: no column to read, or one that cannot be an input; names the column.

    Example:

    >>> x = kr.inputs(train.schema)
    >>> y = keras.layers.Dense(1, activation="sigmoid")(kr.layers.MLP([64])(x.concatenated))
    >>> model = kr.parallel.Model(x.inputs, y)
    """
    schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
    columns = [column for column in schema.features if {Tag.CATEGORICAL, Tag.CONTINUOUS} & set(column.tags)]
    if not columns:
        raise SchemaError("the schema has no categorical or continuous column to make an input of")
    given = {column.name: _input(column) for column in columns}
    configs = embedding_features(
        schema, embedding_dim, combiner, embeddings_initializer, regularizer=embeddings_regularizer
    )
    ids = {name: given[name] for name in configs}
    if lists := {name: given[name] for name in configs if schema[name].is_list}:
        ids |= ListIds([name for name in lists if configs[name].table.combiner is None])(lists)
    embeddings = DistributedEmbedding(configs, seed, dtype=dtype)(ids) if configs else {}
    numeric = schema.features.continuous.without(Tag.CATEGORICAL)
    scalars = Schema(column for column in numeric if not column.is_list)
    layer = ContinuousInputs.of(scalars)
    numbers = None if layer is None else layer({name: given[name] for name in scalars.names})
    return SchemaInputs(given, embeddings, numbers, {c.name: given[c.name] for c in numeric if c.is_list})


@keras.saving.register_keras_serializable("kerasrec")
class ListIds(keras.layers.Layer):
    """List columns' ids, ragged or padded with 0, as `DistributedEmbedding` takes them.

    Args:
        padded: the names of the columns to return padded in any case.

    Inputs: a dict of ids by column, each `(batch, length)` padded with 0, or a `tf.RaggedTensor`.

    Output: the same ids. Padded lists have at least two places, since `(batch, 1)` would be one id per row.
    """

    def __init__(self, padded: Iterable[str] = (), **kwargs: Any):
        super().__init__(**kwargs)
        self.padded = tuple(padded)

    def call(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: self._ids(name, ids) for name, ids in inputs.items()}

    def _ids(self, name: str, ids: Tensor) -> Tensor:
        if is_ragged(ids):
            if name not in self.padded:
                return ids
            ids = ids.to_tensor()
        return ops.pad(ids, [[0, 0], [0, 1]]) if ids.shape[1] in (1, None) else ids

    def compute_output_spec(self, inputs: Mapping[str, keras.KerasTensor]) -> dict[str, keras.KerasTensor]:
        return {
            name: keras.KerasTensor(
                (ids.shape[0], None), dtype=ids.dtype, ragged=bool(ids.ragged) and name not in self.padded
            )
            for name, ids in inputs.items()
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padded": list(self.padded)}


def _input(column: Column) -> keras.KerasTensor:
    """Return the input for a column, of the shape in which a loader yields it."""
    if column.dtype in ("string", "datetime"):
        raise SchemaError(
            f"column {column.name!r} is of {column.dtype}, which no layer takes; make it ids with "
            "etl.Categorify, or numbers"
        )
    if not column.is_list:
        return keras.Input((), name=column.name, dtype=column.dtype)
    if Tag.CATEGORICAL in column.tags:
        ragged = keras.backend.backend() == "tensorflow"
        return keras.Input((None,), name=column.name, dtype=column.dtype, ragged=ragged)
    if column.width is None:
        raise SchemaError(
            f"column {column.name!r} is a list of numbers whose length varies, which models cannot read; reduce "
            "it to one number per row"
        )
    return keras.Input((column.width,), name=column.name, dtype=column.dtype)


def _shape(tensor: keras.KerasTensor) -> str:
    rest = ", ".join("length" if n is None else str(n) for n in tensor.shape[1:])
    return f"(batch, {rest})" if rest else "(batch,)"
