"""Embedding tables and their lookup: one layer for all features of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasrec import kernels

# Keras tells the seed that was set nowhere else.
from kerasrec._keras import model_being_called, random_seed
from kerasrec.layers import lookup
from kerasrec.parallel import comm
from kerasrec.parallel.checkpoint.keras_files import key_of, saved_blocks, saved_tables, whole_for_file
from kerasrec.parallel.exchange.gather_table import whole
from kerasrec.parallel.fit.checks import check_trainer
from kerasrec.parallel.planner.planner import plan as make_plan
from kerasrec.tables.byte_sizes import WIRE_BYTES
from kerasrec.tables.config import FeatureConfig, TableConfig
from kerasrec.tables.initializers import piece_blocks
from kerasrec.tables.plan import Plan, distinct_tables, plan_from_placements
from kerasrec.tables.row_io import kept_in, new_rows, write_rows
from kerasrec.tables.sharding import Shards, shard, slices
from kerasrec.tables.variables import ReplicaVariable, TableVariable


@dataclass(frozen=True)
class Placed:
    """Where a layer looks its features up. (A plain object: Keras would track what is in it.)

    Args:
        parts: each feature's lookups by name, one for each slice of its table.
        shards: the stacks of slices.
        variables: this rank's rows of each stack.
    """

    parts: tuple[tuple[str, dict[str, FeatureConfig]], ...]
    shards: tuple[Shards, ...]
    variables: Sequence[Any]

    @property
    def ranks(self) -> int:
        return self.shards[0].ranks


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
        wire: the dtype in which ranks exchange vectors and gradients: "float32", "bfloat16", "float16" or
            "float64"; by default the tables' own. That is float32, but float64 under `dtype="float64"`, where they
            are trained without the kernels.
        ranks_per_node: how many ranks each machine has; a row then crosses between two machines once. None
            exchanges between ranks directly.

    Inputs: a dict with, for each feature, integer ids of one of these forms:
        - `(batch,)` or `(batch, 1)`: one id a row.
        - `(batch, hotness)`: a list a row, padded with id 0, which is left out.
        - a `tf.RaggedTensor` `(batch, None)` (TensorFlow backend): a list a row, nothing left out.
        - a tuple `(ids, weights)`, weights of the ids' shape, floating: with `w_k` for each id the output is
          `sum_k w_k E[i_k]`, divided by `sum_k w_k` for "mean" and by `sqrt(sum_k w_k^2)` for "sqrtn" (zeros where
          that is 0), as in `tf.nn.embedding_lookup_sparse`. Gradients reach the weights.

    Output: a dict with `(batch, embedding_dim)` for each feature; without a combiner, `(batch, hotness,
    embedding_dim)` with zeros at the padding, or a ragged tensor.

    Raises:
        ValueError: a `wire` that is none of these, two tables with one name, a feature that the inputs lack, ids
            that are not integers or of another rank, weights of another shape or without a combiner.
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
        wire: str | None = None,
        ranks_per_node: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        _refuse_strategy(self.name)
        if not features:
            raise ValueError("DistributedEmbedding needs at least one feature")
        wire = wire or self.table_dtype
        if wire not in WIRE_BYTES:
            raise ValueError(f"{self.name}: wire must be one of {sorted(WIRE_BYTES)}, not {wire!r}")
        # Keras wraps dict attributes for tracking: a tuple of pairs keeps ours plain.
        self._features = tuple((name, _feature(name, config)) for name, config in features.items())
        self.seed = _default_seed() if seed is None else _checked_seed(self.name, seed)
        self.wire, self.ranks_per_node = wire, ranks_per_node
        tables = [table for table, _ in distinct_tables(config for _, config in self._features)]
        how = {"dtype": self.table_dtype, "wire_dtype": wire, "ranks_per_node": ranks_per_node}
        self.plan = _planned(plan, [config for _, config in self._features], **how)
        self._shards = tuple(shard(self.plan, tables, sums=ranks_per_node in (None, self.plan.ranks)))
        self._parts = tuple((name, _parts(name, config, self.plan)) for name, config in self._features)
        # tf.unique, which the sparse optimizers use on this layer's gradients, does not compile with XLA.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    @property
    def table_dtype(self) -> str:
        """Tables are float32 under every policy but float64's."""
        return kept_in(self.variable_dtype)

    @property
    def features(self) -> dict[str, FeatureConfig]:
        return dict(self._features)

    def build(self, input_shape: Any = None) -> None:
        rank = comm.rank()
        if self.plan.ranks == 1:
            self._variables = [self._table_variable(shards, rank) for shards in self._shards]
        else:
            self._build_exchange(rank)
        for variable in self._variables:  # to be looked up and never trained, where the layer was frozen before
            variable.trainable = self.trainable
        self.placed = Placed(self._parts, self._shards, tuple(self._variables))
        self.built = True

    def _table_variable(self, shards: Shards, rank: int, **across_ranks: Any) -> TableVariable:
        initializer = partial(_first_values, shards, rank, self.seed)
        return TableVariable(shards, rank, initializer, self.table_dtype, **across_ranks)

    def _build_exchange(self, rank: int) -> None:
        from kerasrec.parallel.comm.batch_share import LookupShare
        from kerasrec.parallel.exchange.exchange import Exchange
        from kerasrec.parallel.exchange.replicas import Copies

        self._share = LookupShare()
        variables, replica_variables = [], []
        for shards in self._shards:
            replica = replicas = None
            if shards.copies:
                initializer = partial(_first_copies, shards, self.seed)
                replica = ReplicaVariable(shards, initializer, self.table_dtype)
                replicas = Copies(shards, replica.value, rank, f"{self.name}.{shards.stack.name}")
            replica_variables.append(replica)
            variables.append(self._table_variable(shards, rank, replicas=replicas, lookup_share=self._share))
        self._variables = variables
        self._replica_variables = tuple(replica_variables)  # a list's variables would be exported with the layer
        values = [variable.value for variable in variables]
        copies = [None if variable is None else variable.value for variable in replica_variables]
        self._exchange = Exchange(self._shards, values, copies, self.name, self.wire, self.ranks_per_node)

    @contextmanager
    def placed_as(self, other: Placed) -> Iterator[None]:
        """For the duration, look features up in tables that are placed in another way."""
        here, self.placed = self.placed, other
        try:
            yield
        finally:
            self.placed = here

    def call(self, inputs: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        placed = self.placed
        given, weights = self._ids_and_weights(inputs)
        ids = dict(given)
        if training and self.plan.ranks > 1:
            self._check_trainer()
        learning = bool(training) and keras.backend.backend() == "tensorflow"
        # A SavedModel must know nothing of our kernels: they read only where gradients are asked for.
        one_pass = learning and placed.ranks == 1 and kernels.fits(placed.variables[0].value)
        if learning or (placed.ranks > 1 and any(shards.sums for shards in placed.shards)):
            ids, weights = lookup.without_padding(ids, weights, one_pass)
        features: dict[str, FeatureConfig] = {}  # of a table cut by columns, one for each of its slices
        for name, parts in placed.parts:
            features.update(parts)
            ids.update(dict.fromkeys(parts, ids[name]))
            weights.update({part: weights[name] for part in parts if name in weights})
        wanted = [lookup.Wanted.of(shards.stack, features, ids, weights) for shards in placed.shards]
        found: dict[str, Any] = {}
        if placed.ranks == 1:
            for variable, each in zip(placed.variables, wanted, strict=True):
                found.update(lookup.lookup(variable, each, self.compute_dtype, one_pass))
        else:
            found = self._exchanged(wanted, next(iter(given.values())), bool(training))
        out = {name: _side_by_side([found[part] for part in parts]) for name, parts in placed.parts}
        if training:
            self._regularize(out)
        for name in out:
            if lookup.is_ragged(out[name]) and not lookup.is_ragged(given[name]):
                out[name] = lookup.padded_again(out[name], given[name])
        return out

    def _regularize(self, vectors: Mapping[str, Any]) -> None:
        """Add the mean penalty per row of the batch to the loss."""
        for name, config in self._features:
            if config.table.regularizer is None:
                continue
            found = vectors[name]
            rows = ops.cast(_batch_size(found), "float32")
            values = ops.cast(found.flat_values if lookup.is_ragged(found) else found, "float32")
            penalty = keras.regularizers.get(deepcopy(config.table.regularizer))(values)
            self.add_loss(penalty / ops.maximum(rows, 1.0))

    def _exchanged(self, wanted: list[lookup.Wanted], some_ids: Any, training: bool) -> dict[str, Any]:
        """The same when rows are on several ranks; `some_ids` tell the size of the batch."""
        import tensorflow as tf

        from kerasrec.layers.partial_sums import bags_of, features_of
        from kerasrec.parallel.exchange.exchange import Bags

        share = self._share.of_batch(_batch_size(some_ids)) if training else None
        rows = [
            bags_of(each) if shards.sums else tf.unique(lookup.rows_of(each))
            for each, shards in zip(wanted, self._shards, strict=True)
        ]
        asked = [some if isinstance(some, Bags) else some[0] for some in rows]
        found: dict[str, Any] = {}
        received = self._exchange.vectors(asked, training)
        if share is not None:
            received = share.scale_gradients(received)
        for each, some, vectors in zip(wanted, rows, received, strict=True):
            if isinstance(some, Bags):
                found.update(features_of(vectors, each, self.compute_dtype))
                continue
            dtype = self.compute_dtype if each.single else self.table_dtype
            vectors = tf.gather(tf.cast(vectors, dtype), some[1])
            found.update(lookup.combine(vectors, each, self.compute_dtype))
        return found

    def _check_trainer(self) -> None:
        """Refuse a compiled model that several ranks cannot train, or an optimizer that knows nothing of ranks."""
        model = model_being_called(self)
        if model is not None and model.compiled:
            check_trainer(model)

    def _ids_and_weights(self, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The ids of each feature, and the weights of those that have some."""
        all_ids, all_weights = {}, {}
        for name, config in self._features:
            if not isinstance(inputs, Mapping) or name not in inputs:
                given = sorted(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
                raise ValueError(f"{self.name}: no ids for feature {name!r}; the inputs are {given}")
            ids, weights = inputs[name] if _is_weighted(inputs[name]) else (inputs[name], None)
            all_ids[name] = ids = _tensor(ids)
            dtype = keras.backend.standardize_dtype(ids.dtype)
            if "int" not in dtype:
                raise ValueError(f"{self.name}: feature {name!r} needs integer ids, not {dtype}")
            if len(ids.shape) not in (1, 2):
                raise ValueError(
                    f"{self.name}: feature {name!r} needs ids of shape (batch,) or (batch, hotness), "
                    f"not {ids.shape}"
                )
            if weights is None:
                continue
            all_weights[name] = weights = _tensor(weights)
            if config.table.combiner is None:
                raise ValueError(f"{self.name}: feature {name!r} has weights, but its table has no combiner")
            if tuple(weights.shape[1:]) != tuple(ids.shape[1:]) or lookup.is_ragged(weights) != lookup.is_ragged(
                ids
            ):
                raise ValueError(
                    f"{self.name}: feature {name!r} has ids of shape {ids.shape}, but weights of {weights.shape}"
                )
        return all_ids, all_weights

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
        """A copy of one table's values, float32 (vocabulary_size, embedding_dim).

        On several ranks all of them must call it, and each gets the whole table.
        """
        parts = {
            each.columns: whole(shards, each, variable)
            for shards, variable in zip(self._shards, self._variables, strict=True)
            for each in shards.slices
            if each.source.name == name
        }
        if not parts:
            raise KeyError(f"no table {name!r}; there are: {[table.table.name for table in self.plan.tables]}")
        in_order = [parts[columns] for columns in sorted(parts)]
        return in_order[0] if len(parts) == 1 else np.concatenate(in_order, axis=1)

    def save_own_variables(self, store: Any) -> None:
        """On several ranks all of them must call it, and only rank 0's store gets the tables."""
        for placed in self.plan.tables:
            rows = whole_for_file(self._shards, self._variables, placed.table.name)
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
            "wire": self.wire,
            "ranks_per_node": self.ranks_per_node,
        }


def _is_weighted(given: Any) -> bool:
    """Whether ids come with weights. (Keras's files keep a tuple as a list; a list of numbers is ids.)"""
    return isinstance(given, tuple | list) and len(given) == 2 and bool(getattr(given[0], "shape", ()))


def _tensor(value: Any) -> Any:
    return value if hasattr(value, "dtype") else ops.convert_to_tensor(value)


def _feature(name: str, config: FeatureConfig | Mapping[str, Any]) -> FeatureConfig:
    """A feature's config, from itself or from what `get_config` makes of it."""
    if isinstance(config, Mapping):
        return FeatureConfig(config["name"], TableConfig(**config["table"]), config.get("hotness", 1.0))
    if not isinstance(config, FeatureConfig):
        raise ValueError(f"feature {name!r} must be a kr.FeatureConfig, not {config!r}")
    return config


def _planned(plan: Plan | None, features: Sequence[FeatureConfig], **how: Any) -> Plan:
    """Where the tables live: as told, else as the planner says; on one rank there is nothing to choose."""
    ranks = comm.size()
    if plan is None:
        return (
            plan_from_placements(features, 1, "table_wise")
            if ranks == 1
            else make_plan(features, ranks, None, **how)
        )
    if plan.ranks != ranks:
        raise ValueError(f"the plan is for {plan.ranks} ranks, but there are {ranks}")
    for config in features:
        if plan[config.table.name].table != config.table:
            raise ValueError(f"the plan's table {config.table.name!r} is another: {plan[config.table.name].table}")
    return plan


def _parts(name: str, config: FeatureConfig, plan: Plan) -> dict[str, FeatureConfig]:
    """A feature's lookups by name: one for each slice of its table."""
    table = config.table
    return {
        name + each.table.name.removeprefix(table.name): FeatureConfig(name, each.table)
        for each in slices(plan, table.name)
    }


def _side_by_side(parts: list[Any]) -> Any:
    """A feature's vectors from those of its table's columns."""
    if len(parts) == 1:
        return parts[0]
    if lookup.is_ragged(parts[0]):
        return parts[0].with_flat_values(ops.concatenate([part.flat_values for part in parts], axis=-1))
    return ops.concatenate(parts, axis=-1)


def _batch_size(ids: Any) -> Any:
    return ids.nrows() if lookup.is_ragged(ids) else ops.shape(ids)[0]


def _refuse_strategy(layer: str) -> None:
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    if tf.distribute.has_strategy():
        strategy = type(tf.distribute.get_strategy()).__name__
        raise ValueError(
            f"{layer}: embedding tables cannot be made under tf.distribute.{strategy}. "
            "To train on several devices, leave the strategy out and start one process for each: "
            "horovodrun -np N python train.py"
        )


def _checked_seed(layer: str, seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"{layer}: seed must be an integer >= 0; got {seed!r}")
    return int(seed)


def _default_seed() -> int:
    """The seed of `keras.utils.set_random_seed`, the same on all ranks."""
    seed = abs(random_seed() or 0)
    return seed if comm.size() == 1 else comm.gather_objects(seed)[0]


def _first_values(shards: Shards, rank: int, seed: int, shape: tuple[int, int], dtype: str) -> Any:
    """The rows that a rank holds as they begin; the initializer of its variable."""

    def blocks() -> Iterator[tuple[int, np.ndarray]]:
        for each, start in zip(shards.slices, shards.first_local_row[:, rank].tolist(), strict=False):
            if held := each.rows(rank):
                for first, rows in piece_blocks(each.source, seed, held, each.columns):
                    yield start + first, rows

    return new_rows(shape, dtype, blocks())


def _first_copies(shards: Shards, seed: int, shape: tuple[int, int], dtype: str) -> Any:
    """The rows that every rank has a copy of, as they begin."""

    def blocks() -> Iterator[tuple[int, np.ndarray]]:
        for each, start in zip(shards.slices, shards.first_copy.tolist(), strict=False):
            if each.frequent_rows:
                for first, rows in piece_blocks(each.source, seed, range(each.frequent_rows), each.columns):
                    yield start + first, rows

    return new_rows(shape, dtype, blocks())
