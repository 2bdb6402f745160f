"""The exchange against NumPy, with threads of one process as ranks: eagerly, and without Horovod."""

import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf

import kerasrec as kr
from kerasrec.parallel import comm
from kerasrec.parallel.exchange.exchange import Exchange, NodeExchange
from kerasrec.parallel.exchange.stacks import PooledSums, ReplicatedRows, Rows
from kerasrec.tables.bags import Bags
from kerasrec.tables.sharding import shard_tables

SIZES = {"a": (500, 4), "b": (37, 4), "c": (2, 4), "d": (213, 6)}


class Threads:
    """Ranks that are threads; they meet in `alltoall`."""

    def __init__(self, ranks, monkeypatch):
        self.ranks, self.local, self.barrier = ranks, threading.local(), threading.Barrier(ranks)
        self.parts, self.messages = {}, []
        for name in ("rank", "alltoall"):
            monkeypatch.setattr(comm, name, getattr(self, name))

    def rank(self):
        return self.local.rank

    def alltoall(self, tensor, splits, name):
        rank, tensor = self.rank(), np.asarray(tensor)
        assert len(tensor) == sum(splits)
        self.messages.append((name, rank, tensor.nbytes))
        self.parts[rank] = np.split(tensor, np.cumsum(splits)[:-1])
        self.barrier.wait(60)
        received = [self.parts[source][rank] for source in range(self.ranks)]
        self.barrier.wait(60)
        return tf.constant(np.concatenate(received)), tf.constant([len(part) for part in received])

    def run(self, function):
        """Return what the function of a rank returns on each."""
        returned, errors = [None] * self.ranks, []

        def on_rank(rank):
            self.local.rank = rank
            try:
                returned[rank] = function(rank)
            except Exception as error:
                errors.append(error)
                self.barrier.abort()

        threads = [threading.Thread(target=on_rank, args=(rank,)) for rank in range(self.ranks)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
            raise error
        return returned


def stacks_of(placements, ranks, exchange):
    tables = [
        kr.TableConfig(name, rows, width, placement=placement, frequent_rows=2 if placement == "hybrid" else None)
        for (name, (rows, width)), placement in zip(SIZES.items(), placements, strict=True)
    ]
    plan = kr.parallel.plan_from_placements([kr.FeatureConfig(each.name, each) for each in tables], ranks)
    placed = [replace(each, exchange="rows" if each.frequent_rows else exchange) for each in plan.tables]
    return shard_tables(replace(plan, tables=tuple(placed)), tables, sums=True)


def rows_on(shards, rank, full):
    """A rank's rows of a stack, and its replicas, given all rows as `ShardedStack.stack` counts them."""
    starts = shards.first_row.tolist()
    own = [
        full[[start + row for row in each.rows(rank)]] for start, each in zip(starts, shards.slices, strict=False)
    ]
    copies = [full[start : start + each.frequent_rows] for start, each in zip(starts, shards.slices, strict=False)]
    return np.concatenate(own), np.concatenate(copies)


def lookup_of(shards, rng, empty):
    """Distinct rows, or row splits of bags and their rows, of which some bags are empty."""
    if not shards.sums:
        return None, rng.permutation(shards.stack.rows)[: 0 if empty else int(rng.integers(1, 60))]
    splits = np.concatenate([[0], np.cumsum(rng.integers(0, 5, 0 if empty else 30))])
    return splits, rng.integers(0, shards.stack.rows, splits[-1])


MIXED = ("table_wise", "row_wise", "hybrid", "column_wise")
CASES = [
    (2, ("row_wise",) * 4, "rows", None),
    (3, ("row_wise",) * 4, "sums", None),
    (3, MIXED, "rows", None),
    (2, ("hybrid", "row_wise", "replicated", "hybrid"), "sums", None),
    (4, ("hybrid", "row_wise", "replicated", "hybrid"), "rows", 2),
    (4, ("row_wise",) * 4, "rows", 2),
]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("ranks", "placements", "exchange", "per_node"), CASES)
def test_vectors_and_gradients_are_numpys(ranks, placements, exchange, per_node, training, monkeypatch):
    rng = np.random.default_rng(ranks)
    stacks = stacks_of(placements, ranks, exchange)
    full = [rng.normal(size=(each.stack.rows, each.stack.embedding_dim)).astype("float32") for each in stacks]
    lookups = [[lookup_of(each, rng, empty=rank == 1) for each in stacks] for rank in range(ranks)]
    upstream = [rng.normal(size=each.shape).astype("float32") for each in full]  # by row, the same on all ranks

    def vectors_of(splits, rows, values):
        if splits is None:
            return values[rows]
        sums = [values[rows[first:last]].sum(0) for first, last in pairwise(splits)]
        return np.array(sums).reshape(-1, values.shape[1])

    def on_rank(rank):
        exchanged, variables = [], []
        for shards, values in zip(stacks, full, strict=True):
            own, copies = rows_on(shards, rank, values)
            variables.append(tf.Variable(own))
            if len(copies):
                exchanged.append(ReplicatedRows(shards, variables[-1], rank, tf.Variable(copies, trainable=False)))
            else:
                exchanged.append((PooledSums if shards.sums else Rows)(shards, variables[-1], rank))
        reads = Exchange(exchanged, "x", "float32")
        if per_node:
            reads = NodeExchange(exchanged, "x", "float32", per_node)
        asked = [
            tf.constant(rows, tf.int64)
            if splits is None
            else Bags(tf.constant(rows, tf.int64), tf.constant(splits))
            for splits, rows in lookups[rank]
        ]
        with tf.GradientTape() as tape:
            vectors = reads.vectors(asked, training)
            weights = [vectors_of(*each, up) for each, up in zip(lookups[rank], upstream, strict=True)]
            loss = sum(tf.reduce_sum(x * w) for x, w in zip(vectors, weights, strict=True))
        if not training:
            return vectors, None
        return vectors, [tf.convert_to_tensor(each).numpy() for each in tape.gradient(loss, variables)]

    threads = Threads(ranks, monkeypatch)
    returned = threads.run(on_rank)
    for rank, (vectors, _) in enumerate(returned):
        for each, lookup, values in zip(vectors, lookups[rank], full, strict=True):
            np.testing.assert_allclose(each, vectors_of(*lookup, values), atol=1e-5)
    hops = 2 if per_node else 1
    assert len(threads.messages) == ranks * hops * (3 if training else 2)
    if training:
        for k, (shards, values) in enumerate(zip(stacks, full, strict=True)):
            gradient = np.zeros(values.shape, "float64")  # by row: of all ranks together
            for splits, rows in (each[k] for each in lookups):
                bag = (
                    np.arange(len(rows))
                    if splits is None
                    else np.repeat(np.arange(len(splits) - 1), np.diff(splits))
                )
                np.add.at(gradient, rows, vectors_of(splits, rows, upstream[k])[bag])
            for rank, (_, gradients) in enumerate(returned):
                np.testing.assert_allclose(gradients[k], rows_on(shards, rank, gradient)[0], atol=1e-4)


def test_a_row_travels_as_the_fewest_bytes_and_a_replica_as_a_bit(monkeypatch):
    """A rank has 1,000 rows, numbered in two bytes each, and owns 20 replicas, a bit each."""
    table = kr.TableConfig("t", 2000, 4, placement="hybrid", frequent_rows=40)
    plan = kr.parallel.plan_from_placements([kr.FeatureConfig("t", table)], 2)
    (shards,) = shard_tables(plan, [table])

    def on_rank(rank):
        rows = ReplicatedRows(shards, tf.zeros((1000, 4)), rank, tf.zeros((40, 4)))
        exchange = Exchange([rows], "x", "bfloat16")
        return exchange.vectors([tf.constant([0, 1, 2, 41, 50, 60, 70, 1999], tf.int64)], True)

    threads = Threads(2, monkeypatch)
    threads.run(on_rank)
    assert {(name, size) for name, _, size in threads.messages} >= {("x.ids", 2 * 3 + 5 * 2)}
    assert sum(size for name, _, size in threads.messages if name == "x.vectors") == 2 * 5 * 4 * 2


def test_without_training_there_are_no_gradients(monkeypatch):
    table = kr.TableConfig("t", 20, 4, placement="row_wise")
    (shards,) = shard_tables(kr.parallel.plan_from_placements([kr.FeatureConfig("t", table)], 2), [table])

    def on_rank(rank):
        variable = tf.Variable(tf.zeros((10, 4)))
        with tf.GradientTape() as tape:
            exchange = Exchange([Rows(shards, variable, rank)], "x", "float32")
            vectors = exchange.vectors([tf.constant([3, 4], tf.int64)], False)
        return tape.gradient(vectors, variable)

    with pytest.raises(ValueError, match="gradients need training=True"):
        Threads(2, monkeypatch).run(on_rank)
