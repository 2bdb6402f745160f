"""Lookups in tables that are spread over ranks. TensorFlow only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from kerasrec.layers.embedding.bags import bag_count, combine, divided, without_padding
from kerasrec.layers.embedding.lookup_parts import LookupParts, Part, combined, padded_again, stack_rows
from kerasrec.parallel.comm.batch_share import LookupShare
from kerasrec.parallel.exchange.exchange import Exchange, NodeExchange
from kerasrec.parallel.exchange.stacks import PooledSums, ReplicatedRows, Rows
from kerasrec.tables.bags import Bags
from kerasrec.tables.config import FeatureConfig
from kerasrec.tables.plan import Plan
from kerasrec.tables.variables import ReplicaVariable, TableVariable
from kerasrec.typing import Tensor


class ExchangedLookup:
    """Looks features up on all ranks.

    Args:
        features: the features by name.
        plan: where the tables live.
        variables: this rank's shard of each stack.
        replicas: of each stack, the replicas of its frequent rows; None where it has none.
        share: tells this rank's share of a batch, by which gradients are multiplied.
        rank: this rank.
        name: of the messages, equal on every rank.
        wire_dtype: the dtype in which vectors and gradients travel.
        ranks_per_node: as in `DistributedEmbedding`.
    """

    def __init__(
        self,
        features: Mapping[str, FeatureConfig],
        plan: Plan,
        variables: Sequence[TableVariable],
        replicas: Sequence[ReplicaVariable | None],
        share: LookupShare,
        rank: int,
        name: str,
        wire_dtype: str,
        ranks_per_node: int | None,
    ):
        self.parts = LookupParts(features, plan, [each.shards for each in variables])
        self.variables, self.share = tuple(variables), share
        stacks = [_rows(each, replica, rank) for each, replica in zip(variables, replicas, strict=True)]
        self.pools = any(stack.pooled for stack in stacks)
        if ranks_per_node in (None, plan.ranks):
            self.exchange = Exchange(stacks, name, wire_dtype)
        else:
            self.exchange = NodeExchange(stacks, name, wire_dtype, ranks_per_node)

    def vectors(self, bags: Mapping[str, Bags], dtype: str, training: bool) -> dict[str, Tensor]:
        """Return what `Lookup.vectors` does; every rank must call it."""
        share = self.share.of_batch(bag_count(next(iter(bags.values())))) if training else None
        lookups, rows = [], []
        for stack, (parts, padded) in zip(self.exchange.stacks, self.parts.of_stacks(bags), strict=True):
            unpadded = [without_padding(each) if training or self.pools else each for each in padded]
            lookups.append((parts, padded, unpadded))
            rows.append(_lookup(stack, _not_constant(stack_rows(stack.shards.stack, parts, unpadded)), unpadded))
        received = self.exchange.vectors([lookup for lookup, _ in rows], training)
        if share is not None:
            received = share.scale_gradients(received)
        vectors = []
        for (parts, padded, unpadded), (_, position), answer in zip(lookups, rows, received, strict=True):
            if position is None:
                outputs = _from_sums(answer, parts, unpadded, dtype)
            else:
                # Lists are summed in float32; single vectors may be cast to the narrower type at once.
                answer = tf.cast(answer, dtype if all(each.single for each in unpadded) else answer.dtype)
                outputs = combined(tf.gather(answer, position), parts, unpadded, dtype)
            vectors.append((parts, padded_again(outputs, parts, padded, unpadded)))
        return self.parts.by_feature(vectors)


def _rows(variable: TableVariable, replica: ReplicaVariable | None, rank: int) -> Rows:
    """Return how a stack is exchanged."""
    if replica is not None:
        return ReplicatedRows(variable.shards, variable.value, rank, replica.value)
    return (PooledSums if variable.shards.sums else Rows)(variable.shards, variable.value, rank)


def _not_constant(rows: Tensor) -> Tensor:
    """Return rows of which TensorFlow does not think that they are constants.

    What follows from constants, such as the ids of all rows of a table, it computes while it builds a graph, to
    know shapes; an exchange between ranks would wait there for one that never begins.
    """
    return tf.raw_ops.PlaceholderWithDefault(input=rows, shape=rows.shape)


def _lookup(stack: Rows, rows: Tensor, bags: Sequence[Bags]) -> tuple[Tensor | Bags, Tensor | None]:
    """Return what to ask the exchange for, and where each row's vector is in the answer; None for pooled sums."""
    if not stack.pooled:
        distinct, position = tf.unique(rows)
        return tf.cast(distinct, tf.int64), position
    # A list is a bag; a single or a weighted id is one by itself.
    lengths = [each.lengths if _is_pooled(each) else tf.ones_like(each.ids, tf.int64) for each in bags]
    return Bags(tf.cast(rows, tf.int64), tf.concat([[0], tf.cumsum(tf.concat(lengths, 0))], 0)), None


def _from_sums(sums: Tensor, parts: Sequence[Part], bags: Sequence[Bags], dtype: str) -> list[Tensor]:
    """Return the combined vectors of each lookup, given the pooled sums of all of them."""
    sizes = [bag_count(each) if _is_pooled(each) else tf.size(each.ids) for each in bags]
    return [
        tf.cast((divided if _is_pooled(each) else combine)(vectors, each, part.table.combiner), dtype)
        for vectors, each, part in zip(tf.split(sums, sizes, num=len(sizes)), bags, parts, strict=True)
    ]


def _is_pooled(bags: Bags) -> bool:
    return bags.row_splits is not None and bags.weights is None
