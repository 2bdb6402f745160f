"""What every model of this package shares: a schema in, one answer a row out."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasrec.layers import MLP, DistributedEmbedding
from kerasrec.layers.inputs import ContinuousInputs, ids_of, present
from kerasrec.models.first_order import FirstOrder
from kerasrec.optimizers import LossScaleOptimizer
from kerasrec.parallel import comm, facts
from kerasrec.parallel.alike import check_alike, code
from kerasrec.parallel.callback import with_ranks
from kerasrec.parallel.features import embedding_features
from kerasrec.parallel.joined import check_optimizer, join
from kerasrec.parallel.model_files import save_model_aside, save_weights_aside
from kerasrec.schema import Column, Schema, SchemaError, Tag


class SchemaModel(keras.Model):
    """A Keras model that builds itself from a schema and is called on the loader's dict of features.

    A subclass makes its layers in `__init__`, builds them with `chain`, and ends `call` with `self.answer(logit)`.

    Args:
        schema: a `Schema`, or its `to_dict()`, with exactly one target.
        embedding_dim: the width of all embeddings; None takes each column's own suggestion.
        task: "binary" answers with a probability, "regression" with a number; None goes by the target's tag.
        name, dtype, trainable: as in any Keras layer; dtype is the policy of the dense layers.

    Raises:
        SchemaError: no target or several, a target that does not fit the task, or a column that no model reads.
    """

    def __init__(
        self, schema: Schema | Mapping[str, Any], embedding_dim: int | None, task: str | None, **kwargs: Any
    ):
        # Without autocast, continuous columns reach ContinuousInputs with all their digits.
        super().__init__(autocast=False, **kwargs)
        # Without tables nothing forbids XLA, but on CPUs it makes the step of such a network slower.
        self.supports_jit = keras.backend.backend() != "tensorflow"
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self.target, self.task = _target_and_task(self.schema, task)
        self.embedding_dim = embedding_dim
        if not len(self.schema.features.categorical) and not len(self.schema.features.continuous):
            raise SchemaError(f"{self.name}: the schema has no categorical or continuous column to read")
        self.continuous = ContinuousInputs.of(self.schema, name="continuous")
        if self.continuous is not None:
            chain(dict.fromkeys(self.continuous.columns, (None,)), self.continuous)
        self.embeddings = None
        if configs := embedding_features(self.schema, embedding_dim):
            self.embeddings = DistributedEmbedding(configs, dtype=self.dtype_policy, name="embeddings")
            self.embeddings.build(dict.fromkeys(configs, (None,)))
        self.widths = [config.table.embedding_dim for config in configs.values()]
        join(self)

    # ---- parts that a subclass puts together ---------------------------------------------------------------
    def make_tower(self, units: Sequence[int], dropout: float, name: str) -> MLP:
        return MLP(units, dropout=dropout, dtype=self.dtype_policy, name=name)

    def make_logit(self) -> keras.layers.Dense:
        """In float32 under every policy: bfloat16 would leave three digits of a prediction."""
        return keras.layers.Dense(1, dtype="float32", name="logit")

    def make_first_order(self, name: str) -> FirstOrder:
        shape = None if self.continuous is None else (None, len(self.continuous.columns))
        layer = FirstOrder(self.schema, name=name)
        layer.build({column.name: (None,) for column in self.schema.features.categorical}, shape)
        return layer

    def inputs_of(self, features: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
        """A batch -> (ids of the categorical columns, continuous columns `(batch, n)` or None)."""
        ids = ids_of(self.schema, features)
        if self.continuous is None:
            return ids, None
        return ids, self.continuous({name: present(features, name) for name in self.continuous.columns})

    def embed(self, ids: Mapping[str, Any]) -> list[Any]:
        """One vector a categorical column, in the schema's order."""
        return [] if self.embeddings is None else list(self.embeddings(ids).values())

    def side_by_side(self, x: Any, vectors: list[Any]) -> Any:
        """Continuous columns and embeddings as one `(batch, self.side_by_side_width)`."""
        parts = vectors if x is None else [ops.cast(x, self.compute_dtype), *vectors]
        return ops.concatenate(parts, axis=1)

    @property
    def side_by_side_width(self) -> int:
        return len(self.schema.features.continuous) + sum(self.widths)

    def answer(self, logit: Any) -> Any:
        """A logit `(batch, 1)` -> the model's output, float32."""
        return ops.sigmoid(logit) if self.task == "binary" else logit

    # ---- Keras's own -----------------------------------------------------------------------------------------
    def build(self, input_shape: Any = None) -> None:
        """Nothing is left to do: all variables are made from the schema at construction."""

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        return (next(iter(input_shape.values()))[0], 1)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "schema": self.schema.to_dict(),
            "embedding_dim": self.embedding_dim,
            "task": self.task,
        }

    def compile(self, optimizer: Any = "rmsprop", *args: Any, auto_scale_loss: bool = True, **kwargs: Any) -> None:
        """Keras's `compile`. Under mixed_float16 the loss is scaled by `kr.optimizers.LossScaleOptimizer`."""
        optimizer = keras.optimizers.get(optimizer)
        scaled = auto_scale_loss and optimizer is not None and self.dtype_policy.name == "mixed_float16"
        if scaled and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer = LossScaleOptimizer(optimizer)
        super().compile(optimizer, *args, auto_scale_loss=auto_scale_loss, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """As Keras compiles a loaded model whose `compile` is its own."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)

    def fit(self, x: Any = None, *args: Any, validation_data: Any = None, **kwargs: Any) -> Any:
        """Keras's `fit`. Raises `SchemaError` first where a loader's schema does not match the model's.

        On several ranks it is one training, as with `kr.parallel.Callback`, which is added; first of all ranks
        compare what must be equal, the schema and what the loaders deal included (`kr.parallel.RanksDiffer`).
        """
        self._check_loss()
        self._check_data(x, "the training data", learning=True)
        self._check_data(validation_data, "the validation data", learning=True)
        if comm.size() > 1:
            check_optimizer(getattr(self, "optimizer", None), f"model {self.name!r}")
            data = {"data": facts.of_data(x), "validation data": facts.of_data(validation_data)}
            schema = {column.name: column.to_dict() for column in self.schema}
            check_alike("fit", {"code": code(), "schema": schema, **data})
        x, validation_data = _where_it_is(x), _where_it_is(validation_data)
        return _call(super().fit, x, *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Keras's `evaluate`, after the same check of the data; on several ranks its results are of all rows."""
        self._check_data(x, "the data", learning=True)
        return _call(super().evaluate, _where_it_is(x), *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Keras's `predict`, after the same check; on several ranks each gets the predictions of its own rows."""
        self._check_data(x, "the data", learning=False)
        return _call(super().predict, _where_it_is(x), *args, **kwargs)

    def _check_data(self, data: Any, said: str, learning: bool) -> None:
        if not isinstance(schema := getattr(data, "schema", None), Schema):
            return
        check_same_features(self.schema, schema, said)
        if learning and schema.targets.names != [self.target]:
            raise SchemaError(
                f"the model learns {self.target!r}, but the targets of {said} are {schema.targets.names}; "
                f"choose by targets={self.target!r} in the loader"
            )
        if learning and self.task == "binary":
            _check_binary(schema[self.target])

    def _check_loss(self) -> None:
        loss = getattr(self, "loss", None)
        name = loss if isinstance(loss, str) else getattr(loss, "name", None) or getattr(loss, "__name__", "")
        if self.task == "regression" and (name == "bce" or str(name).startswith("binary_")):
            raise ValueError(
                f"loss {name!r} needs a target of 0 and 1, but {self.target!r} is a regression target here; "
                "make it one with etl.Target(threshold=...), or use a loss such as 'mse'"
            )

    # ---- on disk: weights know which schema they belong to ----------------------------------------------------
    def save(self, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
        """Keras's `save`, written beside `filepath`, which keeps what it has until that is complete."""
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                f"{os.path.basename(filepath)!r}: Keras cannot load models of this kind from its old HDF5 format; "
                "save as .keras, or the weights alone with save_weights, as .weights.h5"
            )
        save_model_aside(super().save, filepath, overwrite, zipped, **kwargs)

    def save_weights(self, filepath: Any, overwrite: bool = True, max_shard_size: float | None = None) -> None:
        """Keras's `save_weights`, written beside `filepath`, which keeps what it has until that is complete."""
        save_weights_aside(super().save_weights, filepath, overwrite, max_shard_size)

    def save_own_variables(self, store: Any) -> None:
        store["schema"] = np.frombuffer(json.dumps(self.schema.to_dict()).encode(), np.uint8)

    def load_own_variables(self, store: Any) -> None:
        if "schema" not in store:
            raise ValueError(f"these weights are not of a kerasrec model: they name no schema for {self.name!r}")
        saved = Schema.from_dict(json.loads(np.asarray(store["schema"]).tobytes()))
        check_same_features(self.schema, saved, "the saved model")


def _call(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`fit`, `evaluate` or `predict` with what several ranks need among its callbacks."""
    if comm.size() == 1:
        return method(*args, **kwargs)
    call = inspect.signature(method).bind(*args, **kwargs)
    call.arguments["callbacks"] = with_ranks(call.arguments.get("callbacks"))
    return method(*call.args, **call.kwargs)


def _where_it_is(data: Any) -> Any:
    """A loader of batches on a GPU, past `tf.data`, which would bring them to the host and back."""
    on_gpu = getattr(data, "engine", "arrow") != "arrow" and keras.backend.backend() == "tensorflow"
    return data.tensorflow() if on_gpu else data


def chain(shape: Any, *layers: keras.layers.Layer) -> Any:
    """Build layers that feed one another, the first on inputs of `shape`; the last one's output shape."""
    for layer in layers:
        layer.build(shape)
        shape = layer.compute_output_shape(shape)
    return shape


def check_same_features(model: Schema, other: Schema, said: str) -> None:
    """Raise `SchemaError`, naming the column, unless `other` has `model`'s features with the same ids."""
    for column in (*model.features.categorical, *model.features.continuous):
        if column.name not in other:
            raise SchemaError(f"column {column.name!r} of the model's schema is missing in {said}")
        theirs = other[column.name]
        for fact in ("cardinality", "table", "is_list"):
            mine, found = getattr(column, fact), getattr(theirs, fact)
            if mine != found:
                raise SchemaError(
                    f"column {column.name!r}: {fact} is {mine!r} in the model's schema, but {found!r} in {said}; "
                    "were both made by one workflow?"
                )


def _target_and_task(schema: Schema, task: str | None) -> tuple[str, str]:
    targets = schema.targets.names
    if len(targets) != 1:
        found = f"has targets {', '.join(targets)}" if targets else "has none"
        raise SchemaError(f"a model learns one target; the schema {found}")
    column = schema[targets[0]]
    if task is None:
        task = _task_of(column)
    if task not in ("binary", "regression"):
        raise ValueError(f"task must be 'binary' or 'regression', not {task!r}")
    if task == "binary":
        _check_binary(column)
    return column.name, task


def _check_binary(target: Column) -> None:
    if Tag.REGRESSION in target.tags:
        raise SchemaError(
            f"task 'binary' needs a target of 0 and 1, but {target.name!r} has values other than 0 and 1; "
            "use etl.Target(threshold=...), or task='regression'"
        )


def _task_of(column: Column) -> str:
    if Tag.BINARY in column.tags:
        return "binary"
    if Tag.REGRESSION in column.tags:
        return "regression"
    raise SchemaError(
        f"target {column.name!r} is tagged neither binary nor regression; pass task='binary' or 'regression'"
    )
