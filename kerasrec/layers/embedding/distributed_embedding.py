"""Embedding tables and their lookup: one layer for all features of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasrec._keras import is_created, model_being_called
from kerasrec.layers.embedding.arguments import (
    checked_seed,
    default_seed,
    feature_config,
    planned,
    refuse_strategy,
)
from kerasrec.layers.embedding.bags import bag_count, bags_of, is_padded, is_ragged, laid_out, zero_vectors
from kerasrec.layers.embedding.first_rows import first_replicas, first_rows
from kerasrec.layers.embedding.local_lookup import LocalLookup, Lookup
from kerasrec.optimizers.by_name import warn_of_whole_tables
from kerasrec.parallel import comm
from kerasrec.parallel.checkpoint.keras_files import full_table_on_rank_0, key_of, saved_blocks, saved_tables
from kerasrec.parallel.exchange.gather_table import gather_slice
from kerasrec.parallel.fit.checks import check_trainer
from kerasrec.tables.bags import Bags
from kerasrec.tables.byte_sizes import WIRE_BYTES
from kerasrec.tables.config import FeatureConfig
from kerasrec.tables.plan import Plan, distinct_tables
from kerasrec.tables.row_io import row_dtype, write_rows
from kerasrec.tables.sharding import ShardedStack, shard_tables
from kerasrec.tables.variables import ReplicaVariable, TableVariable
from kerasrec.typing import Regularizer, Tensor


@keras.saving.register_keras_serializable("kerasrec")
class DistributedEmbedding(keras.layers.Layer):
    """Looks up every feature's ids in its table and combines the vectors of a list into one.

    For a feature with ids `i_1 .. i_h` in table `E` the output is `sum_k E[i_k]`, divided by `h` for the combiner
    "mean" and by `sqrt(h)` for "sqrtn"; an empty list gives zeros. With `combiner=None` the vectors stay apart.

    Tables of one width are stacked in one variable, so that one gather serves them all. In files each table
    stands under its own name, whatever it was stacked with.

    Args:
        features: the features by name, each a `kr.FeatureConfig`; several may share a table.
        seed: initial values are a function of it, the table's name and the row. By default it is the seed of
            `keras.utils.set_random_seed`, on several ranks rank 0's, or 0 where none was set.
        plan: where the tables live when there are several ranks; `kr.parallel.plan` chooses if not given.
        wire_dtype: the dtype in which ranks exchange vectors and gradients: "float32", "bfloat16", "float16" or
            "float64"; by default the tables' own. That is float32, but float64 under `dtype="float64"`, where they
            are trained without the kernels.
        ranks_per_node: how many ranks each machine has; a row then crosses between two machines once. None
            exchanges between ranks directly.

    Inputs: a dict with, for each feature, integer ids of one of these forms:
        - `(batch,)` or `(batch, 1)`: one id per row.
        - `(batch, hotness)`: a list per row, padded with id 0, which is left out.
        - a `tf.RaggedTensor` `(batch, None)` (TensorFlow backend): a list per row, nothing left out.
        - a tuple `(ids, weights)`, weights of the ids' shape, floating: with `w_k` for each id the output is
          `sum_k w_k E[i_k]`, divided by `sum_k w_k` for "mean" and by `sqrt(sum_k w_k^2)` for "sqrtn" (zeros where
          that is 0), as in `tf.nn.embedding_lookup_sparse`. Gradients reach the weights.

    Output: a dict with `(batch, embedding_dim)` for each feature; without a combiner, `(batch, hotness,
    embedding_dim)` with zeros at the padding and a mask, as of `keras.layers.Embedding(mask_zero=True)`, which
    layers such as `keras.layers.GRU` follow, or a ragged tensor.

    Raises:
        ValueError: a `wire_dtype` that is none of these, two tables with one name, a feature that the inputs lack,
            ids that are not integers or of another rank, weights of another shape or without a combiner.
        tf.errors.InvalidArgumentError: (TensorFlow) an id outside [0, vocabulary_size); names the feature.
        IndexError: (PyTorch on a CPU) such an id. On JAX, where compiled code cannot raise, its vector is NaN, and
            64-bit ids are cut to 32 bits unless `jax_enable_x64` is set. `kr.Loader` refuses stray ids by name.

    Example:

    >>> item = kr.TableConfig("item", vocabulary_size=1000, embedding_dim=16, combiner="mean")
    >>> layer = kr.layers.DistributedEmbedding(
    ...     {"item": kr.FeatureConfig("item", item), "history": kr.FeatureConfig("history", item)})
    >>> out = layer({"item": np.array([3, 5]), "history": np.array([[1, 2, 0], [4, 0, 0]])})
    >>> out["history"].shape
    (2, 16)

    Source: the layer's interface follows HugeCTR's and NVIDIA distributed-embeddings'; stacking is keras-rs's and
    TorchRec's "table batched embedding".
    """

    def __init__(
        self,
        features: Mapping[str, FeatureConfig | Mapping[str, Any]],
        seed: int | None = None,
        plan: Plan | None = None,
        wire_dtype: str | None = None,
        ranks_per_node: int | None = None,
        **kwargs: Any,
    ):
        if "wire" in kwargs:
            raise TypeError("DistributedEmbedding has no argument 'wire'; it is called wire_dtype now")
        super().__init__(**kwargs)
        self.supports_masking = True
        refuse_strategy(self.name)
        if not features:
            raise ValueError("DistributedEmbedding needs at least one feature")
        wire_dtype = wire_dtype or self.table_dtype
        if wire_dtype not in WIRE_BYTES:
            raise ValueError(f"{self.name}: wire_dtype must be one of {sorted(WIRE_BYTES)}; got {wire_dtype!r}")
        # Keras wraps dict attributes for tracking: a tuple of pairs keeps ours plain.
        self._features = tuple((name, feature_config(name, config)) for name, config in features.items())
        self.seed = default_seed() if seed is None else checked_seed(self.name, seed)
        self.wire_dtype, self.ranks_per_node = wire_dtype, ranks_per_node
        tables = [table for table, _ in distinct_tables(config for _, config in self._features)]
        how = {"dtype": self.table_dtype, "wire_dtype": wire_dtype, "ranks_per_node": ranks_per_node}
        self.plan = planned(plan, [config for _, config in self._features], **how)
        if self.plan.ranks > 1 and self.plan.ranks % (ranks_per_node or 1):
            raise ValueError(
                f"{self.name}: ranks_per_node must divide the {self.plan.ranks} ranks; got {ranks_per_node}"
            )
        self._shards = tuple(shard_tables(self.plan, tables, sums=ranks_per_node in (None, self.plan.ranks)))
        # tf.unique, which the sparse optimizers use on this layer's gradients, does not compile with XLA.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    @property
    def table_dtype(self) -> str:
        """The dtype of tables: float32 under every policy but float64's."""
        return row_dtype(self.variable_dtype)

    @property
    def features(self) -> dict[str, FeatureConfig]:
        return dict(self._features)

    def build(self, input_shape: Any = None) -> None:
        rank = comm.rank()
        if self.plan.ranks == 1:
            self._variables = [self._table_variable(shards, rank) for shards in self._shards]
            self.lookup: Lookup = LocalLookup(self.features, self.plan, self._variables)
        else:
            self.lookup = self._exchanged_lookup(rank)
        for variable in self._variables:  # to be looked up and never trained, where the layer was frozen before
            variable.trainable = self.trainable
        self.built = True

    def _table_variable(self, shards: ShardedStack, rank: int, **across_ranks: Any) -> TableVariable:
        initializer = partial(first_rows, shards, rank, self.seed)
        return TableVariable(shards, rank, initializer, self.table_dtype, **across_ranks)

    def _exchanged_lookup(self, rank: int) -> Lookup:
        from kerasrec.layers.embedding.exchanged_lookup import ExchangedLookup
        from kerasrec.parallel.comm.batch_share import LookupShare
        from kerasrec.parallel.exchange.replicas import ReplicaRefresh

        share = LookupShare()
        variables, replica_variables = [], []
        for shards in self._shards:
            replica = replicas = None
            if shards.replica_rows:
                initializer = partial(first_replicas, shards, self.seed)
                replica = ReplicaVariable(shards, initializer, self.table_dtype)
                replicas = ReplicaRefresh(shards, replica.value, rank, f"{self.name}.{shards.stack.name}")
            replica_variables.append(replica)
            variables.append(self._table_variable(shards, rank, replicas=replicas, lookup_share=share))
        self._variables = variables
        self._replica_variables = tuple(replica_variables)  # a list's variables would be exported with the layer
        messages = {"name": self.name, "wire_dtype": self.wire_dtype, "ranks_per_node": self.ranks_per_node}
        return ExchangedLookup(self.features, self.plan, variables, replica_variables, share, rank, **messages)

    @contextmanager
    def looking_up(self, lookup: Lookup) -> Iterator[None]:
        """Use another lookup for the duration, such as one in tables that are stacked in another way."""
        own, self.lookup = self.lookup, lookup
        try:
            yield
        finally:
            self.lookup = own

    def call(self, inputs: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        ids, weights = self._ids_and_weights(inputs)
        if training:
            self._check_trainer()
        bags = {name: bags_of(each, weights.get(name)) for name, each in ids.items()}
        if all(map(is_created, self.lookup.variables)):
            vectors = self.lookup.vectors(bags, self.compute_dtype, bool(training))
        else:  # Keras traces the shapes of a model of which this layer is built in the first call
            vectors = zero_vectors(self.features, bags, self.compute_dtype)
        if training:
            self._regularize(vectors, bags)
        return {
            name: laid_out(vectors[name], ids[name]) if config.table.combiner is None else vectors[name]
            for name, config in self._features
        }

    def _regularize(self, vectors: Mapping[str, Any], bags: Mapping[str, Bags]) -> None:
        """Add the mean penalty per row of the batch to the loss."""
        for name, config in self._features:
            if config.table.regularizer is None:
                continue
            self.add_loss(mean_penalty(config.table.regularizer, vectors[name], bag_count(bags[name])))

    def _check_trainer(self) -> None:
        """Refuse a compiled model that several ranks cannot train; warn of an optimizer that is slow."""
        model = model_being_called(self)
        if model is None or not model.compiled:
            return
        check_trainer(model)
        if self.plan.ranks == 1 and model.optimizer is not None:
            warn_of_whole_tables(model.optimizer)

    def _ids_and_weights(self, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the ids of each feature, and the weights of those that have weights."""
        all_ids, all_weights = {}, {}
        for name, config in self._features:
            if not isinstance(inputs, Mapping) or name not in inputs:
                given = sorted(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
                raise ValueError(f"{self.name}: no ids for feature {name!r}; got inputs {given}")
            ids, weights = inputs[name] if _is_weighted(inputs[name]) else (inputs[name], None)
            all_ids[name] = ids = _tensor(ids)
            dtype = keras.backend.standardize_dtype(ids.dtype)
            if "int" not in dtype:
                raise ValueError(f"{self.name}: feature {name!r}: ids must be integers; got {dtype}")
            if len(ids.shape) not in (1, 2):
                raise ValueError(
                    f"{self.name}: feature {name!r}: ids must have shape (batch,) or (batch, hotness); "
                    f"got {ids.shape}"
                )
            if weights is None:
                continue
            all_weights[name] = weights = _tensor(weights)
            if config.table.combiner is None:
                raise ValueError(f"{self.name}: feature {name!r}: weights need a table with a combiner")
            if tuple(weights.shape[1:]) != tuple(ids.shape[1:]) or is_ragged(weights) != is_ragged(ids):
                raise ValueError(
                    f"{self.name}: feature {name!r}: weights must have the ids' shape {ids.shape}; "
                    f"got {weights.shape}"
                )
        return all_ids, all_weights

    def compute_mask(self, inputs: Mapping[str, Any], previous_mask: Any = None) -> dict[str, Any]:
        """Return for each feature where its lists are not padded, (batch, hotness) bool, if vectors stay apart.

        It is None for other features, and for ragged lists.
        """
        ids, _ = self._ids_and_weights(inputs)
        return {
            name: ops.not_equal(ids[name], 0) if config.table.combiner is None and is_padded(ids[name]) else None
            for name, config in self._features
        }

    def compute_output_spec(
        self, inputs: Mapping[str, Any], training: bool | None = None
    ) -> dict[str, keras.KerasTensor]:
        ids, _ = self._ids_and_weights(inputs)
        shapes = self.compute_output_shape({name: each.shape for name, each in ids.items()})
        return {
            # Three axes: the vectors of a list, kept apart, are as ragged as the list.
            name: keras.KerasTensor(
                shape, dtype=self.compute_dtype, ragged=len(shape) == 3 and getattr(ids[name], "ragged", False)
            )
            for name, shape in shapes.items()
        }

    def compute_output_shape(self, input_shape: Mapping[str, Any]) -> dict[str, tuple[int | None, ...]]:
        shapes = {}
        for name, config in self._features:
            shape = input_shape[name]
            if shape and isinstance(shape[0], Sequence):  # of ids and of weights
                shape = shape[0]
            apart = config.table.combiner is None and len(shape) == 2
            shapes[name] = (*shape[: 1 + apart], config.table.embedding_dim)
        return shapes

    # ---- tables by name ------------------------------------------------------------------------------------
    def table(self, name: str) -> np.ndarray:
        """Return a copy of one table's values, float32 (vocabulary_size, embedding_dim).

        Every rank must call it, and gets the full table.
        """
        parts = {
            each.columns: gather_slice(shards, each, variable)
            for shards, variable in zip(self._shards, self._variables, strict=True)
            for each in shards.slices
            if each.source.name == name
        }
        if not parts:
            raise KeyError(f"no table {name!r}; available: {[table.table.name for table in self.plan.tables]}")
        in_order = [parts[columns] for columns in sorted(parts)]
        return in_order[0] if len(parts) == 1 else np.concatenate(in_order, axis=1)

    def save_own_variables(self, store: Any) -> None:
        """Save the tables. Every rank must call it, and only rank 0's store gets them."""
        for placed in self.plan.tables:
            rows = full_table_on_rank_0(self._shards, self._variables, placed.table.name)
            if rows is not None:
                store[key_of(placed.table.name)] = rows

    def load_own_variables(self, store: Any) -> None:
        tables = [placed.table for placed in self.plan.tables]
        saved = saved_tables((table.name for table in tables), store)
        for table in tables:
            if table.name not in saved:
                raise ValueError(f"{self.name}: the file has no table {table.name!r}; it has {sorted(store)}")
            here, there = (table.vocabulary_size, table.embedding_dim), tuple(saved[table.name].shape)
            if there != here:
                raise ValueError(f"{self.name}: table {table.name!r} is {there} in the file, but {here} here")
        for variable in self._variables:
            write_rows(variable, saved_blocks(variable.stack, saved))
            if variable.replicas is not None:
                variable.replicas.refresh_all(variable)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DistributedEmbedding:
        config = dict(config)
        if "wire" in config:  # files of kerasrec 0.1
            config["wire_dtype"] = config.pop("wire")
        return super().from_config(config)

    def get_config(self) -> dict[str, Any]:
        features = {}
        for name, config in self._features:
            table = asdict(config.table)
            if not isinstance(table["initializer"], str):
                table["initializer"] = keras.initializers.serialize(keras.initializers.get(table["initializer"]))
            features[name] = {"name": config.name, "table": table, "hotness": config.hotness}
        return {
            **super().get_config(),
            "features": features,
            "seed": self.seed,
            "wire_dtype": self.wire_dtype,
            "ranks_per_node": self.ranks_per_node,
        }


def _is_weighted(given: Any) -> bool:
    """Return whether ids come with weights. (Keras's files keep a tuple as a list; a list of numbers is ids.)"""
    return isinstance(given, tuple | list) and len(given) == 2 and bool(getattr(given[0], "shape", ()))


def _tensor(value: Any) -> Any:
    return value if hasattr(value, "dtype") else ops.convert_to_tensor(value)


def mean_penalty(regularizer: Regularizer, vectors: Tensor, rows: int | Tensor) -> Tensor:
    """Return the penalty of vectors, per row."""
    penalty: Tensor = keras.regularizers.get(deepcopy(regularizer))(ops.cast(vectors, "float32"))
    return penalty / ops.maximum(ops.cast(rows, "float32"), 1.0)
