"""The exchange of a step: each rank asks for the rows it looks up, owners answer, gradients go the same way back.

    ids        distinct rows, by owner, packed in the fewest bytes      one alltoall
    vectors    the owners' answers, in the order of the requests        one alltoall
    gradients  one for each distinct row                                one alltoall, in the backward pass

TensorFlow only. Source: HugeCTR's embeddings (https://arxiv.org/abs/2210.08803), with distinct rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from kerasrec.parallel import comm
from kerasrec.parallel.comm.alltoall_vectors import alltoall_vectors
from kerasrec.parallel.exchange.packing import Asked, Packing
from kerasrec.parallel.exchange.stacks import Answers, Requests, Rows
from kerasrec.tables.bags import Bags
from kerasrec.typing import Tensor


class Exchange:
    """Reads rows of stacks that are spread over ranks.

    Messages have `name`, equal on every rank; vectors and gradients travel in `wire_dtype`.
    """

    def __init__(self, stacks: Sequence[Rows], name: str, wire_dtype: str):
        self.stacks, self.name, self.wire_dtype = stacks, name, wire_dtype
        self.packing = Packing(stacks)

    def vectors(self, lookups: Sequence[Tensor | Bags], training: bool) -> list[Tensor]:
        """Return the vectors of each stack's distinct rows, (n,) int64 as `ShardedStack.stack` counts them, or for
        `PooledSums` the sums of bags of such rows. In training they have gradients: those of all ranks together.
        """
        requests = [stack.requests(lookups[k], k, len(lookups) + k) for k, stack in enumerate(self.stacks)]
        answers = self.ask(_concat(requests), training)
        pairs = zip(answers[: len(lookups)], answers[len(lookups) :], strict=True)
        return [self.stacks[k].vectors(lookups[k], *pair) for k, pair in enumerate(pairs)]

    def ask(self, requests: Requests, training: bool) -> list[Answers]:
        """Return the owners' answers for each stack, and then those for its replicas, which are zeros."""
        return self.hop(requests, self.packing, self._own_rows, self.name, training)

    def hop(
        self, requests: Requests, packing: Packing, answer: Callable[..., list[Tensor]], name: str, training: bool
    ) -> list[Answers]:
        """Ask ranks; `answer` makes the answers to what they ask this one."""
        requests, begins = packing.order(requests)
        message, splits = comm.alltoall(*packing.pack(requests, begins, training), f"{name}.ids")
        asked = packing.unpack(message, splits, training)
        sent = packing.counts(asked.rank, asked.stack, asked.begins)
        received = packing.counts(requests.owner, requests.stack, begins)
        own, silent = answer(asked, training), len(self.stacks)
        vectors = alltoall_vectors(own, sent, received, name, self.wire_dtype, silent, training)
        stack, vector = requests.stack, requests.vector
        if begins is not None:
            stack, vector = tf.boolean_mask(stack, begins), tf.boolean_mask(vector, begins)
        return list(zip(vectors, tf.dynamic_partition(vector, stack, len(vectors)), strict=True))

    def _own_rows(self, asked: Asked, training: bool) -> list[Tensor]:
        """Return this rank's answers for each stack, and then for its replicas."""
        count = self.packing.stacks
        rows = tf.dynamic_partition(asked.row, asked.stack, count)
        begins = [None] * count if asked.begins is None else tf.dynamic_partition(asked.begins, asked.stack, count)
        replicas = [stack.answer_replicas(rows[count // 2 + k]) for k, stack in enumerate(self.stacks)]
        return [stack.answer(rows[k], begins[k]) for k, stack in enumerate(self.stacks)] + replicas


class NodeExchange(Exchange):
    """An exchange over another: a rank asks the rank of its own node that has the owner's place there, and that
    one asks the owner, once for all ranks of its node. Ranks are counted node by node, `ranks_per_node` on each.
    """

    def __init__(self, stacks: Sequence[Rows], name: str, wire_dtype: str, ranks_per_node: int):
        super().__init__(stacks, f"{name}.nodes", wire_dtype)
        self.relay_name, self.per_node = name, ranks_per_node
        self.relays = Packing(stacks, self.packing.ranks // ranks_per_node)

    def ask(self, requests: Requests, training: bool) -> list[Answers]:
        relay = comm.rank() // self.per_node * self.per_node + requests.owner % self.per_node
        node = tf.cast(requests.owner // self.per_node, tf.int64)
        row = node * tf.gather(self.packing.sizes, requests.stack) + requests.row
        requests = requests._replace(owner=relay, row=row)
        return self.hop(requests, self.relays, self._owners_rows, self.relay_name, training)

    def _owners_rows(self, asked: Asked, training: bool) -> list[Tensor]:
        """Return the answers of owners on all nodes, each asked once for each row."""
        requests, positions = [], []
        for stack, row in enumerate(tf.dynamic_partition(asked.row, asked.stack, self.packing.stacks)):
            distinct, position = tf.unique(row)
            node, row = distinct // self.packing.sizes[stack], distinct % self.packing.sizes[stack]
            owner = tf.cast(node, tf.int32) * self.per_node + comm.rank() % self.per_node
            requests.append(Requests(owner, tf.fill(tf.shape(owner), stack), row, tf.range(tf.size(row))))
            positions.append(position)
        answers = super().ask(_concat(requests), training)
        return [tf.gather(tf.dynamic_stitch([b], [a]), c) for (a, b), c in zip(answers, positions, strict=True)]


def _concat(requests: Sequence[Requests]) -> Requests:
    return Requests(*(tf.concat(column, 0) for column in zip(*requests, strict=True)))
