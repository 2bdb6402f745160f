"""`SchemaModel`: a Keras model that builds itself from a schema; the base of `kr.models` and of your own."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasrec._keras import DataAdapter, layers_of
from kerasrec.callbacks.checkpoint import with_loaders
from kerasrec.layers import MLP, DistributedEmbedding
from kerasrec.layers.inputs import ContinuousInputs, ids_of, present
from kerasrec.models.checks import check_binary, check_fit, check_same_features, target_and_task
from kerasrec.models.class_weights import with_class_weights
from kerasrec.models.first_order import FirstOrder
from kerasrec.models.fit_data import compare_data_on_ranks, fingerprint_of_data, loader_of, on_device
from kerasrec.models.options import Options
from kerasrec.optimizers import Adagrad, LossScaleOptimizer
from kerasrec.parallel import comm
from kerasrec.parallel.fit.checks import check_trainer
from kerasrec.parallel.fit.rank_check import check_same_on_ranks, code_fingerprint
from kerasrec.parallel.fit.trainer import RankTrainer
from kerasrec.schema import Schema, SchemaError
from kerasrec.typing import Tensor


class SchemaModel(RankTrainer, keras.Model):
    """A Keras model that builds itself from a schema and is called on the loader's dict of features.

    A subclass creates its layers in `__init__`, builds them with `chain` and sets `self.built = True`. Its `call`
    gets ids and continuous columns from `inputs_of`, vectors from `embed`, and returns `self.answer(logit)`.

    Args:
        schema: a `Schema`, or its `to_dict()`, with exactly one target.
        embedding_dim: the width of all embeddings; None takes the one that each column suggests.
        task: "binary" (the model returns a probability) or "regression" (a number); None goes by the target's tag.
        combiner: how the vectors of a list are combined: "mean", "sum" or "sqrtn" (sum / sqrt(count)).
        embeddings_initializer: of the tables' rows, as `kr.TableConfig` takes it.
        embeddings_regularizer: of the tables' rows that a batch looks up, as `kr.TableConfig` takes it.
        activation: of the dense towers.
        kernel_initializer, kernel_regularizer: of the dense towers' matrices.
        seed: of the tables' initial values; by default that of `keras.utils.set_random_seed`, which the dense
            weights follow.
        name, dtype, trainable: as in any Keras layer; dtype is the policy of the dense layers.

    `combiner`, `embeddings_initializer` and `embeddings_regularizer` are one value for all columns, or a dict by
    the name of a column or table, where the others keep the default: `combiner={"genres": "sqrtn"}`.

    Raises:
        SchemaError: no target or several, a target that does not fit the task, or no column to read.

    Example:

    >>> class TwoLayers(SchemaModel):  # doctest: +SKIP
    ...     def __init__(self, schema, embedding_dim=16, task=None, **kwargs):
    ...         super().__init__(schema, embedding_dim, task, **kwargs)
    ...         self.tower, self.logit = self.make_tower([64, 32], dropout=0.0, name="tower"), self.make_logit()
    ...         chain((None, self.side_by_side_width), self.tower, self.logit)
    ...         self.built = True
    ...     def call(self, features, training=None):
    ...         ids, x = self.inputs_of(features)
    ...         vectors = self.side_by_side(x, self.embed(ids))
    ...         return self.answer(self.logit(self.tower(vectors, training=training)))
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int | None,
        task: str | None,
        *,
        combiner: str | Mapping[str, str] = "mean",
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        activation: Any = "relu",
        kernel_initializer: Any = "glorot_uniform",
        kernel_regularizer: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        # Without autocast, continuous columns reach ContinuousInputs with all their digits.
        super().__init__(autocast=False, **kwargs)
        # Without tables nothing forbids XLA, but on CPUs it makes the step of such a network slower.
        self.supports_jit = keras.backend.backend() != "tensorflow"
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self.target, self.task = target_and_task(self.schema, task)
        self.embedding_dim = embedding_dim
        self.options = Options(
            combiner,
            embeddings_initializer,
            embeddings_regularizer,
            activation,
            kernel_initializer,
            kernel_regularizer,
        )
        if not len(self.schema.features.categorical) and not len(self.schema.features.continuous):
            raise SchemaError(f"{self.name}: the schema has no categorical or continuous column to read")
        self.continuous = ContinuousInputs.of(self.schema, name="continuous")
        if self.continuous is not None:
            chain(dict.fromkeys(self.continuous.columns, (None,)), self.continuous)
        self.embeddings = None
        if configs := self.options.features(self.schema, embedding_dim):
            self.embeddings = DistributedEmbedding(configs, seed, dtype=self.dtype_policy, name="embeddings")
            self.embeddings.build(dict.fromkeys(configs, (None,)))
            seed = self.embeddings.seed
        self.seed = seed
        self.widths = [config.table.embedding_dim for config in configs.values()]
        self._class_weight: tuple[tuple[int, float], ...] | None = None

    # ---- parts for subclasses ------------------------------------------------------------------------------
    def make_tower(self, units: int | Sequence[int], dropout: float, name: str) -> MLP:
        """Return a dense tower with the model's activation, initializer, regularizer and dtype."""
        return MLP(units, dropout=dropout, **self.options.tower(), dtype=self.dtype_policy, name=name)

    def make_logit(self) -> keras.layers.Dense:
        """Return the last layer, in float32 under every policy: bfloat16 has three digits of a prediction."""
        return keras.layers.Dense(1, dtype="float32", name="logit")

    def make_first_order(self, name: str) -> FirstOrder:
        """Return the linear part over all columns, built."""
        shape = None if self.continuous is None else (None, len(self.continuous.columns))
        options = self.options
        layer = FirstOrder(self.schema, options.combiner, options.embeddings_regularizer, name=name)
        layer.build({column.name: (None,) for column in self.schema.features.categorical}, shape)
        return layer

    def inputs_of(self, features: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return the ids of a batch's categorical columns, and its continuous columns `(batch, n)` or None."""
        ids = ids_of(self.schema, features)
        if self.continuous is None:
            return ids, None
        return ids, self.continuous({name: present(features, name) for name in self.continuous.columns})

    def embed(self, ids: Mapping[str, Tensor]) -> list[Tensor]:
        """Return one vector per categorical column, in the schema's order."""
        return [] if self.embeddings is None else list(self.embeddings(ids).values())

    def side_by_side(self, x: Tensor | None, vectors: list[Tensor]) -> Tensor:
        """Return continuous columns and embeddings as one `(batch, self.side_by_side_width)`."""
        parts = vectors if x is None else [ops.cast(x, self.compute_dtype), *vectors]
        return ops.concatenate(parts, axis=1)

    @property
    def side_by_side_width(self) -> int:
        """The width of what `side_by_side` returns."""
        return len(self.schema.features.continuous) + sum(self.widths)

    def answer(self, logit: Tensor) -> Tensor:
        """Return the model's output for a logit `(batch, 1)`: a probability or a number, float32."""
        return ops.sigmoid(logit) if self.task == "binary" else logit

    # ---- Keras's own -----------------------------------------------------------------------------------------
    def build(self, input_shape: Any = None) -> None:
        """Do nothing: all variables are created from the schema in `__init__`."""

    def _build_sublayers(self) -> None:
        """Build the layers that a subclass leaves to its first call, so that files can be read into them."""
        if not all(layer.built for layer in layers_of(self)):
            self(example_batch(self.schema))

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
            "seed": self.seed,
            **self.options.config(),
        }

    def compile(self, optimizer: Any = None, *args: Any, auto_scale_loss: bool = True, **kwargs: Any) -> None:
        """Compile as Keras does, with `kr.optimizers.Adagrad()` where no optimizer is given.

        Under mixed_float16 the loss is scaled by `kr.optimizers.LossScaleOptimizer`.
        """
        optimizer = Adagrad() if optimizer is None else keras.optimizers.get(optimizer)
        scaled = auto_scale_loss and self.dtype_policy.name == "mixed_float16"
        if scaled and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer = LossScaleOptimizer(optimizer)
        super().compile(optimizer, *args, auto_scale_loss=auto_scale_loss, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile a loaded model, which Keras leaves to a class that overrides `compile`."""
        self._build_sublayers()
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Fit as Keras does. Raises `SchemaError` first where a loader's schema does not match the model's.

        With a loader, `class_weight` weighs each row by its class, and the arguments that Keras would ignore (`y`,
        `sample_weight`, `batch_size`, `shuffle`, `validation_split`) are refused.

        Several ranks train as one (`kr.parallel.Callback`); first they compare what must be equal, here with the
        schema and what the loaders read (`kr.parallel.RanksDiffer`).
        """
        arguments = inspect.signature(keras.Model.fit).bind(self, x, *args, **kwargs).arguments
        del arguments["self"]
        validation_data = arguments.get("validation_data")
        self._check_loss()
        self._check_data(x, "the training data", training=True)
        self._check_data(validation_data, "the validation data", training=True)
        class_weight = None
        if isinstance(x, DataAdapter):
            check_fit(loader_of(x), arguments)
            class_weight = arguments.pop("class_weight", None)
        if comm.size() > 1:
            check_trainer(self)
            self._compare_on_ranks(x, validation_data)
        callbacks = with_loaders(arguments.get("callbacks"), loader_of(x), loader_of(validation_data))
        arguments |= {"x": on_device(x), "validation_data": on_device(validation_data), "callbacks": callbacks}
        with self._class_weights(class_weight):
            return super().fit(**arguments)

    def _compare_on_ranks(self, data: Any, validation_data: Any) -> None:
        compared = {
            "code": code_fingerprint(),
            "schema": {column.name: column.to_dict() for column in self.schema},
            "data": fingerprint_of_data(data),
            "validation data": fingerprint_of_data(validation_data),
        }
        check_same_on_ranks("fit", compared)

    @contextmanager
    def _class_weights(self, class_weight: Mapping[int, float] | None) -> Iterator[None]:
        """Have training steps weigh rows by their class within the context: a step is traced with the weights."""
        if class_weight is None:
            yield
            return
        self._class_weight, self.train_function = tuple(class_weight.items()), None
        try:
            yield
        finally:
            self._class_weight, self.train_function = None, None

    def train_step(self, *args: Any) -> Any:
        *state, data = args
        if self._class_weight is not None:
            data = with_class_weights(data, dict(self._class_weight))
        return super().train_step(*state, data)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as Keras does, after the same check of the data; on several ranks for the rows of all."""
        self._check_data(x, "the data", training=True)
        compare_data_on_ranks("evaluate", x)
        return super().evaluate(on_device(x), *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Predict as Keras does, after the same check; each of several ranks gets predictions for its own rows."""
        self._check_data(x, "the data", training=False)
        compare_data_on_ranks("predict", x)
        return super().predict(on_device(x), *args, **kwargs)

    def export(self, filepath: Any, format: str = "tf_saved_model", **kwargs: Any) -> None:
        """Write the SavedModel of `kr.serving.export`, without a workflow, in the place of an earlier one.

        Raises `ValueError` for another format or argument of Keras's `export`.
        """
        others = [name for name, value in kwargs.items() if value is not None and name != "verbose"]
        if format != "tf_saved_model" or others:
            argument = f"format={format!r}" if format != "tf_saved_model" else f"{others[0]}=..."
            raise ValueError(
                f"{type(self).__name__}.export writes the TensorFlow SavedModel of kr.serving.export, whose "
                f"signature is the schema's; {argument} is not supported"
            )
        from kerasrec import serving

        serving.export(self, filepath, overwrite=True)

    def _check_data(self, data: Any, role: str, training: bool) -> None:
        """Raise `SchemaError` where a loader's schema does not match the model's."""
        loader = loader_of(data)
        if loader is None:
            return
        check_same_features(self.schema, loader.schema, role)
        if training and loader.schema.targets.names != [self.target]:
            raise SchemaError(
                f"the model is trained on {self.target!r}, but the targets of {role} are "
                f"{loader.schema.targets.names}; choose with targets={self.target!r} in the loader"
            )
        if training and self.task == "binary":
            check_binary(loader.schema[self.target])

    def _check_loss(self) -> None:
        loss = getattr(self, "loss", None)
        name = loss if isinstance(loss, str) else getattr(loss, "name", None) or getattr(loss, "__name__", "")
        if self.task == "regression" and (name == "bce" or str(name).startswith("binary_")):
            raise ValueError(
                f"loss {name!r} needs a target of 0 and 1, but {self.target!r} is a regression target here; "
                "make it one with etl.Target(threshold=...), or use a loss such as 'mse'"
            )

    # ---- files: weights are saved with the schema that they belong to ----------------------------------------
    def save(self, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
        """Save as Keras does; the file at `filepath` is replaced when the new one is complete."""
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                f"{os.path.basename(filepath)!r}: Keras cannot load models of this kind from its old HDF5 format; "
                "save as .keras, or the weights alone with save_weights, as .weights.h5"
            )
        super().save(filepath, overwrite, zipped, **kwargs)

    def save_own_variables(self, store: Any) -> None:
        self._build_sublayers()
        super().save_own_variables(store)
        store["schema"] = np.frombuffer(json.dumps(self.schema.to_dict()).encode(), np.uint8)

    def load_own_variables(self, store: Any) -> None:
        if "schema" not in store:
            raise ValueError(
                f"these weights were not saved by a model of kr.models: the file has no schema for {self.name!r}"
            )
        saved = Schema.from_dict(json.loads(np.asarray(store["schema"]).tobytes()))
        check_same_features(self.schema, saved, "the saved model")
        self._build_sublayers()
        super().load_own_variables({key: store[key] for key in set(store.keys()) - {"schema"}})


def example_batch(schema: Schema) -> dict[str, np.ndarray]:
    """Return one row of a schema's features: id 0, lists of padding, number 0."""
    features = schema.features
    batch = {c.name: np.zeros((1, 2) if c.is_list else (1,), "int32") for c in features.categorical}
    return batch | {c.name: np.zeros((1,), "float32") for c in features.continuous}


def chain(shape: Any, *layers: keras.layers.Layer) -> Any:
    """Build layers that feed one another, the first for inputs of `shape`; return the output shape of the last."""
    for layer in layers:
        layer.build(shape)
        shape = layer.compute_output_shape(shape)
    return shape
