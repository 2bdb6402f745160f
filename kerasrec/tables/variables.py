"""The variables of a model that hold rows of embedding tables, and how to tell them from its other weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import keras

from kerasrec.tables.sharding import ShardedStack
from kerasrec.typing import Tensor, Variable

Initializer = Callable[..., Tensor]  # (shape, dtype) -> the rows a variable begins with


class Replicas(Protocol):
    """Keeps every rank's replicas of frequent rows equal to the rows themselves, which their owners update."""

    def refresh(self, table: TableVariable, rows: Tensor) -> None:
        """Send every rank the replicated ones among distinct rows of this rank's shard, and take theirs."""

    def refresh_all(self, table: TableVariable) -> None:
        """Send every rank all replicated rows of this rank's shard, and take theirs."""


class TableVariable(keras.Variable):
    """This rank's shard of a stack of embedding tables: (rows, embedding_dim), updated row by row.

    It is never cast as a whole: under a mixed policy that would happen in every step.

    Args:
        shards: the stack, and where its rows live.
        rank: the rank whose rows these are.
        initializer: returns the rows to begin with.
        dtype: of the rows.
        replicas: of the stack's frequent rows on every rank; None where it has none.
        lookup_share: the layer's `parallel.comm.batch_share.LookupShare`, which knows its batches' shares of the
            global batch; None on one rank.

    Attributes:
        stack: this rank's shard, as a stack of shortened tables.
    """

    def __init__(
        self,
        shards: ShardedStack,
        rank: int,
        initializer: Initializer,
        dtype: str,
        replicas: Replicas | None = None,
        lookup_share: object | None = None,
    ):
        stack = shards.local(rank)
        shape = stack.rows, stack.embedding_dim
        super().__init__(initializer, shape=shape, dtype=dtype, autocast=False, name=stack.name)
        self.shards, self.stack = shards, stack
        self.replicas, self.lookup_share = replicas, lookup_share


class ReplicaVariable(keras.Variable):
    """Replicas of a stack's frequent rows, which every rank has: (rows, embedding_dim).

    No gradient changes it: the rows' owners send it the rows that they updated.

    Args:
        shards: the stack, and where its rows live.
        initializer: returns the rows to begin with.
        dtype: of the rows.
    """

    def __init__(self, shards: ShardedStack, initializer: Initializer, dtype: str):
        super().__init__(
            initializer,
            shape=(shards.replica_rows, shards.stack.embedding_dim),
            dtype=dtype,
            autocast=False,
            trainable=False,
            name=f"{shards.stack.name}_copies",
        )


def is_sharded(variable: Variable) -> bool:
    """Return whether a variable's rows are of tables that are spread over ranks, or replicas of such rows."""
    return isinstance(variable, TableVariable | ReplicaVariable)


def is_table(variable: Variable) -> bool:
    """Return whether a variable's rows are looked up: a stack of tables, or the matrix of a Keras `Embedding`.

    Keras has no type for the latter: every `keras.layers.Embedding` names its matrix "embeddings".
    """
    return isinstance(variable, TableVariable) or variable.name == "embeddings"


def table_variables(model: keras.Model) -> list[TableVariable]:
    """Return the variables of a model that hold this rank's rows of embedding tables."""
    return [variable for variable in model.weights if isinstance(variable, TableVariable)]


def dense_weights(model: keras.Model) -> list[Variable]:
    """Return the weights that every rank has in full: neither rows of sharded tables nor replicas of such rows."""
    return [weight for weight in model.weights if not is_sharded(weight)]


def untrained_weights(model: keras.Model) -> list[Variable]:
    """Return the dense weights that no gradient changes, such as a normalization's moving averages.

    The rows that a rank sees may change them, so they differ between ranks until they are averaged.
    """
    return [weight for weight in dense_weights(model) if not weight.trainable]
