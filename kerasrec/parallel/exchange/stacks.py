"""What a rank asks for of each stack, what owners answer, and what becomes of the answers. TensorFlow only."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from kerasrec.tables.bags import Bags
from kerasrec.tables.sharding import ShardedStack
from kerasrec.typing import Tensor

Answers = tuple[Tensor, Tensor]  # vectors (n, width), and which of those looked up each is a part of, (n,) int32


class Requests(NamedTuple):
    """Rows to ask for, as columns (n,). The replicas of stack k of K count as a stack of their own, K + k."""

    owner: Tensor  # int32: the rank that has the row
    stack: Tensor  # int32
    row: Tensor  # int64: its number among the owner's rows of the stack
    vector: Tensor  # int32: which of the vectors looked up in the stack it is a part of


class Rows:
    """Distinct rows of a stack, each answered with its vector; `variable` has those of this rank."""

    pooled = False

    def __init__(self, shards: ShardedStack, variable: tf.Variable, rank: int):
        self.shards, self.variable, self.rank = shards, variable, rank

    def requests(self, lookup: Any, stack: int, replicas: int) -> Requests:
        """Return what to ask for, given (n,) int64 rows as `ShardedStack.stack` counts them, by these numbers."""
        part, row = self.locate(lookup)
        count = tf.gather(self.shards.owner_count, part)
        owner = tf.gather_nd(self.shards.owners, tf.stack([part, row % count], axis=1))
        first = tf.gather_nd(self.shards.first_local_row, tf.stack([part, owner], axis=1))
        owner, stacks = tf.cast(owner, tf.int32), tf.fill(tf.shape(lookup), stack)
        return Requests(owner, stacks, first + row // count, tf.range(tf.size(lookup)))

    def locate(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the slice that each row is in, and the row's number there, both int64."""
        part = tf.searchsorted(self.shards.first_row[1:], rows, side="right", out_type=tf.int64)
        return part, rows - tf.gather(self.shards.first_row, part)

    def answer(self, rows: Tensor, begins: Tensor | None) -> Tensor:
        """Return the vectors of this rank's rows; `begins` tells with which rows another vector begins."""
        return tf.gather(self.variable, rows)

    def answer_replicas(self, rows: Tensor) -> Tensor:
        """Return the vectors of this rank's rows that have replicas, counted among these alone."""
        return tf.gather(self.variable, rows)

    def vectors(self, lookup: Any, answers: Answers, replicas: Answers) -> Tensor:
        """Return the answers to `requests(lookup)`, (n, width), in the order of `lookup`."""
        vectors, places = answers
        return tf.dynamic_stitch([places], [vectors])


class PooledSums(Rows):
    """Bags of rows: each owner answers a bag with the sum of those of its rows that it has."""

    pooled = True

    def requests(self, lookup: Bags, stack: int, replicas: int) -> Requests:
        vector = tf.repeat(tf.range(tf.size(lookup.row_splits) - 1), lookup.lengths)
        return super().requests(lookup.ids, stack, replicas)._replace(vector=vector)

    def answer(self, rows: Tensor, begins: Tensor | None) -> Tensor:
        return tf.math.segment_sum(tf.gather(self.variable, rows), tf.cumsum(tf.cast(begins, tf.int32)) - 1)

    def vectors(self, lookup: Bags, answers: Answers, replicas: Answers) -> Tensor:
        return tf.math.unsorted_segment_sum(*answers, tf.size(lookup.row_splits) - 1)


class ReplicatedRows(Rows):
    """Rows of which some have a replica on every rank: that one is read, the owner just gets gradients."""

    def __init__(self, shards: ShardedStack, variable: tf.Variable, rank: int, replicas: tf.Variable):
        super().__init__(shards, variable, rank)
        self.replicas, self.offset = replicas, shards.first_owned_replica - shards.first_local_row

    def requests(self, lookup: Tensor, stack: int, replicas: int) -> Requests:
        part, row = self.locate(lookup)
        requests = super().requests(lookup, stack, replicas)
        replicated = row < tf.gather(self.shards.frequent_rows, part)
        offset = tf.gather_nd(self.offset, tf.stack([part, tf.cast(requests.owner, tf.int64)], axis=1))
        stacks, row = tf.where(replicated, replicas, stack), requests.row + tf.where(replicated, offset, 0)
        return requests._replace(stack=stacks, row=row)

    def answer_replicas(self, rows: Tensor) -> Tensor:
        part = tf.searchsorted(self.shards.first_owned_replica[1:, self.rank], rows, side="right")
        return tf.gather(self.variable, rows - tf.gather(self.offset[:, self.rank], part))

    def vectors(self, lookup: Tensor, answers: Answers, replicas: Answers) -> Tensor:
        (vectors, places), (zeros, replica_places) = answers, replicas
        part, row = self.locate(tf.gather(lookup, replica_places))
        own = tf.stop_gradient(tf.gather(self.replicas, row + tf.gather(self.shards.first_replica, part)))
        return tf.dynamic_stitch([places, replica_places], [vectors, own + zeros])  # zeros lead gradients home
