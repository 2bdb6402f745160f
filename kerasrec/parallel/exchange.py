"""The exchange of a step: each rank asks for the rows it looks up, owners answer, gradients go the same way back.

    ids        distinct rows, sorted by owner, packed in the fewest bytes     one alltoall
    vectors    the owners' answers, in the order they were asked for          one alltoall
    gradients  one for each distinct row, times this rank's share             one alltoall, in the backward pass

Over several nodes it goes in two hops, first to the rank of one's own node that has the owner's place there: that
one asks once for what its node's ranks ask of it, so a row crosses between two nodes once.

Copied rows (those of replicated tables, the frequent ones of hybrid tables) are read from this rank's own copy. In
training their owners are told their ids as well, since the gradients go to the owners; after the update these send
every rank the rows that changed (`Copies`).

TensorFlow only. Source: HugeCTR's embeddings (https://arxiv.org/abs/2210.08803), with distinct rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kerasrec.parallel import comm
from kerasrec.parallel.shards import Shards

WIRES = ("float32", "bfloat16", "float16")


class Exchange:
    """Reads rows of stacks that are spread over ranks.

    Args:
        shards: the stacks.
        variables: this rank's rows of each stack, `tf.Variable`s (rows, width).
        copies: the copied rows of each stack, `tf.Variable`s; None where a stack has none.
        name: of the messages, equal on every rank.
        wire: the dtype in which vectors and gradients travel.
        ranks_per_node: ranks are counted node by node, so many on each; None, or all of them, is one node.
    """

    def __init__(
        self, shards: Sequence[Shards], variables: Sequence[Any], copies: Sequence[Any], name: str, wire: str,
        ranks_per_node: int | None = None,
    ):  # fmt: skip
        self.shards, self.variables, self.copies, self.name = shards, variables, copies, name
        self.wire = tf.as_dtype(wire)
        self.ranks = shards[0].ranks
        self.per_node = ranks_per_node or self.ranks
        if self.ranks % self.per_node:
            raise ValueError(f"{self.ranks} ranks are not {self.per_node} on every node")
        # A request's kind is its stack; copied rows, which need no answer, are kinds of their own after these.
        self.widths = np.array([each.stack.embedding_dim for each in shards] * 2, np.int32)
        sizes = [int(each.first_local_row[-1].max()) for each in shards]
        some_copies = any(each.copies for each in shards)
        # What is sent for a row is its number in its owner's variables, one variable after another.
        self.bases = np.cumsum([0, *sizes, *(sizes if some_copies else [0] * len(sizes))])

    def vectors(self, wanted: Sequence[Any], share: Any | None) -> list[Any]:
        """The vectors of distinct rows of each stack.

        Args:
            wanted: of each stack, distinct rows as `Shards.stack` counts them, (n,) int32 or int64.
            share: what this rank's gradients are multiplied by; None where there will be none.

        Returns:
            For each stack (n, width) float32. The gradients of `variables` are those of all ranks together.
        """
        found = [self._locate(k, tf.cast(rows, tf.int64)) for k, rows in enumerate(wanted)]
        rank, kind, address, _ = (tf.concat(parts, 0) for parts in zip(*found, strict=True))
        if share is None:  # then nobody needs to know of copied rows
            told = kind < len(self.shards)
            rank, address = tf.boolean_mask(rank, told), tf.boolean_mask(address, told)
        if self.per_node == self.ranks:
            answers = self._ask(rank, address, 1, self._owned, share, "")
        else:
            relay = comm.rank() // self.per_node * self.per_node + rank % self.per_node
            node = tf.cast(rank // self.per_node, tf.int64)
            nodes = self.ranks // self.per_node
            answers = self._ask(relay, node * self.bases[-1] + address, nodes, self._relayed(share), share, "")
        return [self._with_copies(k, answers, *found[k][1::2], share) for k in range(len(self.shards))]

    def _locate(self, k: int, rows: Any) -> tuple[Any, Any, Any, Any]:
        """Of rows of a stack: their owner, the kind of request, what is sent for them, where their copies are."""
        shards = self.shards[k]
        of = tf.searchsorted(tf.constant(shards.first_row[1:], tf.int64), rows, side="right")
        row = rows - tf.gather(tf.constant(shards.first_row, tf.int64), of)
        count = tf.gather(tf.constant(shards.owner_count, tf.int64), of)
        place = tf.cast(row % count, tf.int32)
        rank = tf.gather_nd(tf.constant(shards.owners, tf.int32), tf.stack([of, place], axis=1))
        first = tf.gather_nd(tf.constant(shards.first_local_row, tf.int64), tf.stack([of, rank], axis=1))
        copied = row < tf.gather(tf.constant(shards.frequent_rows, tf.int64), of)
        kind = tf.where(copied, k + len(self.shards), k)
        address = tf.gather(tf.constant(self.bases, tf.int64), kind) + first + row // count
        return rank, kind, address, row + tf.gather(tf.constant(shards.first_copy, tf.int64), of)

    def _with_copies(self, k: int, answers: list[Any], kind: Any, copy: Any, share: Any | None) -> Any:
        """A stack's vectors in the order in which they were wanted: owners' answers, and this rank's copies."""
        if self.copies[k] is None:
            return tf.ensure_shape(answers[k], (None, self.widths[k]))
        copied = kind != k
        own = tf.stop_gradient(tf.gather(self.copies[k], tf.boolean_mask(copy, copied)))
        if share is not None:
            own += answers[k + len(self.shards)]  # zeros: by them gradients find their way to the owner
        places = tf.cast(tf.where(~copied)[:, 0], tf.int32), tf.cast(tf.where(copied)[:, 0], tf.int32)
        return tf.ensure_shape(tf.dynamic_stitch(places, (answers[k], own)), (None, self.widths[k]))

    # ---- one hop ----------------------------------------------------------------------------------------------
    def _ask(
        self,
        rank: Any,
        number: Any,
        nodes: int,
        answer: Callable[[Any, Any], list[Any]],
        share: Any | None,
        hop: str,
    ) -> list[Any]:
        """Ask ranks for rows.

        Args:
            rank: whom to ask for each row, (n,) int32.
            number: what the row is sent as, (n,) int64: its address and, times `bases[-1]`, its owner's node.
            nodes: how many nodes are told apart in it.
            answer: on the rank that is asked, numbers and kinds -> the vectors of each kind.
            share: what gradients are multiplied by on their way back.
            hop: a part of the messages' names.

        Returns:
            By kind, its rows' vectors in the order of the requests; zeros for the kinds that need no answer.
        """
        kinds, stacks = len(self.widths), len(self.shards)
        kind = self._kind(number)
        order = tf.argsort(rank * kinds + kind, stable=True)
        sent = self._counts(rank, kind)
        message = pack(tf.gather(number, order), bytes_for(self.bases[-1] * nodes - 1))
        packed, parts = comm.alltoall(message, tf.reduce_sum(sent, axis=1), f"{self.name}{hop}.ids")
        asked = unpack(packed)
        kind_asked = self._kind(asked)
        got = self._counts(tf.repeat(tf.range(self.ranks), parts), kind_asked)
        answered = np.array([1] * stacks + [0] * stacks, np.int32)

        @tf.custom_gradient
        def answers(*mine: Any) -> Any:
            received = self._swap(mine[:stacks], got * answered, sent * answered, f"{hop}.vectors")
            silent = [tf.zeros((tf.reduce_sum(sent[:, k]), self.widths[k])) for k in range(stacks, kinds)]

            def gradient(*upstream: Any) -> list[Any]:
                if share is None:
                    raise ValueError(f"{self.name}: where gradients are asked for, call it with training=True")
                scaled = [tf.math.multiply_no_nan(tf.convert_to_tensor(each), share) for each in upstream]
                return self._swap(scaled, sent, got, f"{hop}.gradients")

            return [*received[:stacks], *silent], gradient

        kind_sent = tf.gather(kind, order)
        found = []
        for k, vectors in enumerate(answers(*answer(asked, kind_asked))):
            within = tf.cumsum(tf.cast(kind == k, tf.int32)) - 1  # the place of a request among those of its kind
            places = tf.gather(within, tf.boolean_mask(order, kind_sent == k))
            found.append(tf.gather(vectors, tf.math.invert_permutation(places)))
        return found

    def _kind(self, number: Any) -> Any:
        address = number % max(1, self.bases[-1])
        return tf.searchsorted(tf.constant(self.bases[1:], tf.int64), address, side="right")

    def _counts(self, rank: Any, kind: Any) -> Any:
        """(ranks, kinds) int32: how many requests are for each rank, of each kind."""
        kinds = len(self.widths)
        return tf.reshape(tf.math.bincount(rank * kinds + kind, minlength=self.ranks * kinds), (self.ranks, kinds))

    def _owned(self, number: Any, kind: Any) -> list[Any]:
        """This rank's own rows."""
        row = number - tf.gather(tf.constant(self.bases[:-1], tf.int64), kind)
        return [
            tf.gather(self.variables[k % len(self.shards)], tf.boolean_mask(row, kind == k))
            for k in range(len(self.widths))
        ]

    def _relayed(self, share: Any | None) -> Callable[[Any, Any], list[Any]]:
        """Rows of the ranks that have this rank's place in their nodes, asked for once for all of this node."""
        onwards = None if share is None else tf.ones(())  # each rank's share is in the gradients already

        def answer(number: Any, kind: Any) -> list[Any]:
            distinct, position = tf.unique(number)
            node = tf.cast(distinct // self.bases[-1], tf.int32)
            rank = node * self.per_node + comm.rank() % self.per_node
            address = distinct % self.bases[-1]
            kind_distinct = self._kind(distinct)
            answers = self._ask(rank, address, 1, self._owned, onwards, ".nodes")
            found = []
            for k, vectors in enumerate(answers):
                within = tf.cumsum(tf.cast(kind_distinct == k, tf.int32)) - 1
                found.append(tf.gather(vectors, tf.gather(within, tf.boolean_mask(position, kind == k))))
            return found

        return answer

    def _swap(self, vectors: Sequence[Any], there: Any, here: Any, what: str) -> list[Any]:
        """Send vectors of each kind and receive as many as `here` says; both are counts (ranks, kinds)."""
        # One message a rank: its vectors of the first kind, those of the second, ... as plain numbers.
        flat = [
            tf.RaggedTensor.from_row_lengths(tf.reshape(each, (-1,)), there[:, k] * self.widths[k], validate=False)
            for k, each in enumerate(vectors)
        ]
        message = (flat[0] if len(flat) == 1 else tf.concat(flat, axis=1)).values
        splits = tf.reduce_sum(there * self.widths, axis=1)
        received, _ = comm.alltoall(tf.cast(message, self.wire), splits, f"{self.name}{what}")
        lengths = tf.reshape(here * self.widths, (-1,))
        parts = tf.RaggedTensor.from_row_lengths(tf.cast(received, tf.float32), lengths, validate=False)
        return [
            tf.reshape(parts[k :: len(self.widths)].values, (-1, width)) for k, width in enumerate(self.widths)
        ]


class Copies:
    """Keeps every rank's copies of frequent rows equal to the rows themselves, which their owners update."""

    def __init__(self, shards: Shards, variable: Any, copies: Any, rank: int, name: str):
        self.shards, self.variable, self.copies, self.rank, self.name = shards, variable, copies, rank, name
        self.id_bytes = bytes_for(shards.copies - 1)

    def refresh(self, rows: Any) -> None:
        """Send every rank the copied ones among some rows of this rank's variable, and take theirs.

        Args:
            rows: (n,) distinct rows of the variable. All ranks must come here, with no row if they have none.
        """
        shards, rank = self.shards, self.rank
        rows = tf.cast(rows, tf.int64)
        of = tf.searchsorted(tf.constant(shards.first_local_row[1:, rank], tf.int64), rows, side="right")
        place = [each.owners.index(rank) if rank in each.owners else 0 for each in shards.slices]
        count = tf.gather(tf.constant(shards.owner_count, tf.int64), of)
        row = rows - tf.gather(tf.constant(shards.first_local_row[:, rank], tf.int64), of)
        row = row * count + tf.gather(tf.constant(place, tf.int64), of)
        copied = row < tf.gather(tf.constant(shards.frequent_rows, tf.int64), of)
        copy = tf.boolean_mask(row + tf.gather(tf.constant(shards.first_copy, tf.int64), of), copied)
        values = tf.gather(self.variable, tf.boolean_mask(rows, copied))
        numbers = tf.reshape(tf.bitcast(values, tf.uint8), (-1, 4 * shards.stack.embedding_dim))
        message = comm.allgather(tf.concat([pack(copy, self.id_bytes), numbers], axis=1), f"{self.name}.copies")
        values = tf.reshape(message[:, self.id_bytes :], (-1, shards.stack.embedding_dim, 4))
        tf.raw_ops.ResourceScatterUpdate(
            resource=self.copies.handle,
            indices=unpack(message[:, : self.id_bytes]),
            updates=tf.bitcast(values, tf.float32),
        )


def bytes_for(largest: int) -> int:
    """The fewest bytes that hold numbers from 0 to `largest`."""
    return max(1, (int(largest).bit_length() + 7) // 8)


def pack(numbers: Any, size: int) -> Any:
    """(n,) int64 from 0 on -> (n, size) uint8, the low bytes, lowest first."""
    return tf.bitcast(numbers, tf.uint8)[:, :size]


def unpack(packed: Any) -> Any:
    """(n, size) uint8 -> (n,) int64."""
    return tf.bitcast(tf.pad(packed, [[0, 0], [0, 8 - packed.shape[1]]]), tf.int64)
