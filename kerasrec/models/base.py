"""`SchemaModel`: a Keras model that builds itself from a schema; the base of `kr.models` and of your own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasrec._keras import layers_of
from kerasrec.layers import MLP, DistributedEmbedding, ParallelMLP, ScaledVectors
from kerasrec.layers.inputs import ContinuousInputs, ids_of, present
from kerasrec.models.first_order import FirstOrder
from kerasrec.models.heads import Heads
from kerasrec.models.options import Options
from kerasrec.models.target_trainer import TargetTrainer
from kerasrec.schema import Schema, SchemaError
from kerasrec.tables.config import FeatureConfig
from kerasrec.typing import Activation, Initializer, Regularizer, Shape, Tensor


class SchemaModel(TargetTrainer):
    """A Keras model that builds itself from a schema and is called on the loader's dict of features.

    A subclass creates its layers in `__init__`, builds them with `chain` and sets `self.built = True`. Its `call`
    gets ids and continuous columns from `inputs_of`, vectors from `embed`, and returns `self.answer(logit)`.

    Args:
        schema: a `Schema`, or its `to_dict()`, with one target or several.
        embedding_dim: the width of all embeddings; None takes the one that each column suggests.
        task: "binary" (the model returns a probability) or "regression" (a number), for all targets or as a dict
            by target; by default it follows from the target's tag.
        combiner: how the vectors of a list are combined: "mean", "sum" or "sqrtn" (sum / sqrt(count)).
        embeddings_initializer: of the tables' rows, as `kr.TableConfig` takes it.
        embeddings_regularizer: of the tables' rows that a batch looks up, as `kr.TableConfig` takes it.
        activation: of the dense towers.
        kernel_initializer, kernel_regularizer: of the dense towers' matrices.
        seed: of the tables' initial values; by default that of `keras.utils.set_random_seed`, which the dense
            weights follow.
        uncombined: tables whose lists stay vectors, `(batch, length, dim)`, padded or ragged as their ids are; an
            argument for subclasses, which is not in the config.
        name, dtype, trainable: as in any Keras layer; dtype is the policy of the dense layers.

    `combiner`, `embeddings_initializer` and `embeddings_regularizer` are one value for all columns, or a dict by
    the name of a column or table, where the others keep the default: `combiner={"genres": "sqrtn"}`.

    With several targets the layers are shared but the last, which has weights of its own for each target, as the
    linear part of DeepFM and WideAndDeep has. The output is then a dict `{target: (batch, 1)}`.

    Raises:
        SchemaError: no target, a target that does not fit the task, or no column to read.

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
        embedding_dim: int | None = 16,
        task: str | Mapping[str, str] | None = None,
        *,
        combiner: str | Mapping[str, str] = "mean",
        embeddings_initializer: Initializer = "uniform",
        embeddings_regularizer: Regularizer | None = None,
        activation: Activation = "relu",
        kernel_initializer: Initializer = "glorot_uniform",
        kernel_regularizer: Regularizer | None = None,
        seed: int | None = None,
        uncombined: Collection[str] = (),
        **kwargs: Any,
    ):
        # Without autocast, continuous columns reach ContinuousInputs with all their digits.
        super().__init__(autocast=False, **kwargs)
        # Without tables nothing forbids XLA, but on CPUs it makes the step of such a network slower.
        self.supports_jit = keras.backend.backend() != "tensorflow"
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self.heads = Heads.of(self.schema, task)
        self.embedding_dim, self._uncombined = embedding_dim, tuple(uncombined)
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
        self.continuous_vectors: ScaledVectors | None = None
        self.embeddings = None
        if configs := self.table_features():
            self.embeddings = DistributedEmbedding(configs, seed, dtype=self.dtype_policy, name="embeddings")
            self.embeddings.build(dict.fromkeys(configs, (None,)))
            seed = self.embeddings.seed
        self.seed = seed
        self.widths = [config.table.embedding_dim for config in configs.values()]

    # ---- parts for subclasses ------------------------------------------------------------------------------
    def table_features(self) -> dict[str, FeatureConfig]:
        """Return what `embed` looks up: the table of each categorical column, or {} in a model without vectors."""
        return self.options.features(self.schema, self.embedding_dim, self._uncombined)

    def make_tower(self, units: int | Sequence[int], dropout: float, name: str) -> MLP:
        """Return a dense tower with the model's activation, initializer, regularizer and dtype."""
        return MLP(units, dropout=dropout, **self.options.tower(), dtype=self.dtype_policy, name=name)

    def make_parallel(self, count: int, units: int | Sequence[int], dropout: float, name: str) -> ParallelMLP:
        """Return `count` dense towers side by side, with the same options as `make_tower`'s."""
        more = self.options.tower()
        return ParallelMLP(count, units, dropout=dropout, **more, dtype=self.dtype_policy, name=name)

    def make_logit(self) -> keras.layers.Dense:
        """Return the last layer, one logit per target.

        It is in float32 under every policy: bfloat16 has three digits of a prediction.
        """
        return keras.layers.Dense(len(self.targets), dtype="float32", name="logit")

    def make_first_order(self, name: str) -> FirstOrder:
        """Return the linear part over all columns, built: weights of its own for each target."""
        shape = None if self.continuous is None else (None, len(self.continuous.columns))
        options = self.options
        regularizer, logits = options.embeddings_regularizer, len(self.targets)
        layer = FirstOrder(self.schema, options.combiner, regularizer, logits, name=name)
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

    def make_continuous_vectors(self) -> ScaledVectors | None:
        """Return a layer, built, that makes each continuous column a vector of the embeddings' width.

        A model whose fields interact sets `self.continuous_vectors` to it. It is None without such columns.

        Raises:
            ValueError: `embedding_dim` is None: fields that interact are of one width.
        """
        if self.embedding_dim is None:
            raise ValueError(f"{self.name}: embedding_dim must be an integer, since fields interact; got None")
        if self.continuous is None:
            return None
        initializer = self.options.embeddings_initializer
        by_table = isinstance(initializer, dict) and "class_name" not in initializer
        layer = ScaledVectors(
            self.embedding_dim,
            "uniform" if by_table else initializer,
            dtype=self.dtype_policy,
            name="continuous_vectors",
        )
        layer.build((None, len(self.continuous.columns)))
        return layer

    def fields(self, x: Tensor | None, vectors: list[Tensor]) -> list[Tensor]:
        """Return one vector `(batch, dim)` per column: the embeddings, then those of `self.continuous_vectors`."""
        if self.continuous_vectors is None:
            return vectors
        return [*vectors, *ops.unstack(self.continuous_vectors(x), axis=1)]

    @property
    def field_count(self) -> int:
        """The number of vectors that `fields` returns."""
        numbers = 0 if self.continuous is None or self.continuous_vectors is None else len(self.continuous.columns)
        return len(self.widths) + numbers

    def side_by_side(self, x: Tensor | None, vectors: list[Tensor]) -> Tensor:
        """Return continuous columns and embeddings as one `(batch, self.side_by_side_width)`."""
        parts = vectors if x is None else [ops.cast(x, self.compute_dtype), *vectors]
        return ops.concatenate(parts, axis=1)

    @property
    def side_by_side_width(self) -> int:
        """The width of what `side_by_side` returns."""
        return len(self.schema.features.continuous) + sum(self.widths)

    def answer(self, logit: Tensor) -> Tensor | dict[str, Tensor]:
        """Return the model's output for logits `(batch, targets)`: a probability or a number, float32.

        It is `(batch, 1)` for one target, a dict of such by name for several.
        """
        return self.heads.outputs(logit)

    # ---- Keras's own -----------------------------------------------------------------------------------------
    def build(self, input_shape: Mapping[str, Shape] | None = None) -> None:
        """Do nothing: all variables are created from the schema in `__init__`."""

    def _build_sublayers(self) -> None:
        """Build the layers that a subclass leaves to its first call, so that files can be read into them."""
        if not all(layer.built for layer in layers_of(self)):
            self(example_batch(self.schema))

    def compute_output_shape(self, input_shape: Mapping[str, Shape]) -> Shape | dict[str, Shape]:
        shape = (next(iter(input_shape.values()))[0], 1)
        return shape if len(self.targets) == 1 else dict.fromkeys(self.targets, shape)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "schema": self.schema.to_dict(),
            "embedding_dim": self.embedding_dim,
            "task": self.task if len(self.targets) == 1 else self.tasks,
            "seed": self.seed,
            **self.options.config(),
        }


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
