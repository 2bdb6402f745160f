"""The exchange of a step: each rank asks for the rows it looks up, owners answer, gradients go the same way back.

    ids        distinct rows, by owner, packed in the fewest bytes            one alltoall
    vectors    the owners' answers, in the order they were asked for          one alltoall
    gradients  one for each distinct row                                      one alltoall, in the backward pass

Of a stack whose plan says "sums", ids are not distinct: an owner adds up the rows that it has of each bag (the ids
of one list) and answers with that sum, whose gradient goes to all these rows.

Over several nodes it goes in two hops, first to the rank of one's own node that has the owner's place there: that
one asks once for what its node's ranks ask of it, so a row crosses between two nodes once.

Copied rows (those of replicated tables, the frequent ones of hybrid tables) are read from this rank's own copy. In
training their owners are told of them as well, by one bit for each copied row they own, since the gradients go to
the owners; after the update these send every rank the rows that changed (`copies.Copies`).

TensorFlow only. Source: HugeCTR's embeddings (https://arxiv.org/abs/2210.08803), with distinct rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kerasrec.gradients import Operation
from kerasrec.parallel import comm
from kerasrec.parallel.exchange.packing import from_bits, pack, to_bits, unpack
from kerasrec.tables.byte_sizes import bytes_for
from kerasrec.tables.sharding import Shards


class Bags(NamedTuple):
    """Rows whose vectors are added up.

    Args:
        rows: (n,) int32 or int64, as `Shards.stack` counts them.
        bag: (n,) int32, ascending: which sum each is a part of.
        size: how many sums there are.
    """

    rows: Any
    bag: Any
    size: Any


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
        self.wire, self.dtype = tf.as_dtype(wire), variables[0].dtype
        self.ranks = shards[0].ranks
        self.per_node = ranks_per_node or self.ranks
        if self.ranks % self.per_node:
            raise ValueError(f"{self.ranks} ranks are not {self.per_node} on every node")
        # A request's kind is its stack; copied rows, which need no answer, are kinds of their own after these.
        self.widths = np.array([each.stack.embedding_dim for each in shards] * 2, np.int32)
        # A row's address is its number in its owner's variables, one variable after another; after these come
        # the copied rows, counted among those that the owner has.
        # Where sums are asked for an address is twice that, and odd where a bag begins.
        sizes = [int(each.first_local_row[-1].max()) << each.sums for each in shards]
        self.bases = np.cumsum([0, *sizes, *(each.most_owned_copies for each in shards)])
        self.first_copied = int(self.bases[len(shards)])
        self.sums = np.array([each.sums for each in shards] + [False] * len(shards))
        if self.sums.any() and self.per_node != self.ranks:
            raise ValueError("sums are exchanged between ranks directly, not by way of their nodes")

    def vectors(self, wanted: Sequence[Any], training: bool) -> list[Any]:
        """The vectors of distinct rows of each stack, or the sums of those in each bag.

        Args:
            wanted: of each stack, distinct rows as `Shards.stack` counts them, (n,) int32 or int64; `Bags` where
                the stack's `sums` is true.
            training: whether gradients will be asked for.

        Returns:
            For each stack (n, width), or (bags, width), of the variables' dtype. The gradients of `variables` are
            those of all ranks together.
        """
        found = [
            self._locate_bags(k, each) if self.sums[k] else self._locate(k, tf.cast(each, tf.int64))
            for k, each in enumerate(wanted)
        ]
        rank, kind, address = (tf.concat([each[i] for each in found], 0) for i in range(3))
        if not training:  # then nobody needs to know of copied rows
            told = kind < len(self.shards)
            rank, address = tf.boolean_mask(rank, told), tf.boolean_mask(address, told)
        if self.per_node == self.ranks:
            answers = self._ask(rank, address, 1, self._owned, training, "")
        else:
            relay = comm.rank() // self.per_node * self.per_node + rank % self.per_node
            node = tf.cast(rank // self.per_node, tf.int64)
            nodes = self.ranks // self.per_node
            answers = self._ask(
                relay, node * self.bases[-1] + address, nodes, self._relayed(training), training, ""
            )
        return [
            tf.math.unsorted_segment_sum(answers[k], found[k][3], wanted[k].size)
            if self.sums[k]
            else self._with_copies(k, answers, *found[k][1::2], training)
            for k in range(len(self.shards))
        ]

    def _locate(self, k: int, rows: Any) -> tuple[Any, Any, Any, Any]:
        """Of rows of a stack: their owner, the kind of request, what is sent for them, where their copies are."""
        shards = self.shards[k]
        of = tf.searchsorted(tf.constant(shards.first_row[1:], tf.int64), rows, side="right")
        row = rows - tf.gather(tf.constant(shards.first_row, tf.int64), of)
        count = tf.gather(tf.constant(shards.owner_count, tf.int64), of)
        place = tf.cast(row % count, tf.int32)
        rank = tf.gather_nd(tf.constant(shards.owners, tf.int32), tf.stack([of, place], axis=1))
        copied = row < tf.gather(tf.constant(shards.frequent_rows, tf.int64), of)
        part = tf.stack([of, rank], axis=1)
        first = tf.gather_nd(tf.constant(shards.first_local_row, tf.int64), part)
        if shards.copies:
            first = tf.where(copied, tf.gather_nd(tf.constant(shards.first_owned_copy, tf.int64), part), first)
        kind = tf.where(copied, k + len(self.shards), k)
        address = tf.gather(tf.constant(self.bases, tf.int64), kind) + first + row // count
        return rank, kind, address, row + tf.gather(tf.constant(shards.first_copy, tf.int64), of)

    def _locate_bags(self, k: int, wanted: Bags) -> tuple[Any, Any, Any, Any]:
        """The same of bags, sorted by owner; and for each sum that is asked for, the bag that it is a part of."""
        rank, kind, address, _ = self._locate(k, tf.cast(wanted.rows, tf.int64))
        order = tf.argsort(rank, stable=True)
        rank, address, bag = tf.gather(rank, order), tf.gather(address, order), tf.gather(wanted.bag, order)
        begins = tf.concat([tf.ones_like(bag[:1], tf.bool), (rank[1:] != rank[:-1]) | (bag[1:] != bag[:-1])], 0)
        base = int(self.bases[k])
        return rank, kind, base + 2 * (address - base) + tf.cast(begins, tf.int64), tf.boolean_mask(bag, begins)

    def _with_copies(self, k: int, answers: list[Any], kind: Any, copy: Any, training: bool) -> Any:
        """A stack's vectors in the order in which they were wanted: owners' answers, and this rank's copies."""
        if self.copies[k] is None:
            return tf.ensure_shape(answers[k], (None, self.widths[k]))
        copied = kind != k
        own = tf.stop_gradient(tf.gather(self.copies[k], tf.boolean_mask(copy, copied)))
        if training:
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
        training: bool,
        hop: str,
    ) -> list[Any]:
        """Ask ranks for rows.

        Args:
            rank: whom to ask for each row, (n,) int32.
            number: what the row is sent as, (n,) int64: its address and, times `bases[-1]`, its owner's node.
            nodes: how many nodes are told apart in it.
            answer: on the rank that is asked, numbers and kinds -> the vectors of each kind.
            training: as in `vectors`.
            hop: a part of the messages' names.

        Returns:
            By kind, its rows' vectors in the order of the requests; zeros for the kinds that need no answer. Sums
            of bags, whose requests are sorted by rank, in the order of the bags' first ids.
        """
        kind = self._kind(number)
        # By rank, and then by number as the bits are; but bags stay as they are.
        place = number
        if self.sums.any():
            place = tf.where(tf.gather(self.sums, kind), number - self._within(number, kind), number)
        order = tf.argsort(tf.cast(rank, tf.int64) * int(self.bases[-1] * nodes) + place, stable=True)
        sent = self._counts(rank, kind, number)
        message, splits = self._packed(tf.gather(rank, order), tf.gather(number, order), nodes, training)
        received, parts = comm.alltoall(message, splits, f"{self.name}{hop}.ids")
        source, asked = self._unpacked(received, parts, nodes, training)
        kind_asked = self._kind(asked)
        got = self._counts(source, kind_asked, asked)
        swap = Swap(f"{self.name}{hop}", tuple(self.widths.tolist()), self.dtype.name, self.wire.name, training)
        inputs = [*answer(asked, kind_asked), sent, got]
        kind_sent = tf.gather(kind, order)
        found = []
        for k, vectors in enumerate(_ANSWERS(inputs, **asdict(swap))):
            if self.sums[k]:
                found.append(vectors)
                continue
            within = tf.cumsum(tf.cast(kind == k, tf.int32)) - 1  # the place of a request among those of its kind
            places = tf.gather(within, tf.boolean_mask(order, kind_sent == k))
            found.append(tf.gather(vectors, tf.math.invert_permutation(places)))
        return found

    def _packed(self, rank: Any, number: Any, nodes: int, copied: bool) -> tuple[Any, Any]:
        """What each rank is sent for some numbers, which are sorted by rank: where `copied` says so a bit for each
        copied row that it owns, then the other numbers one by one. Returns uint8, and the bytes for each rank."""
        node, address = number // max(1, self.bases[-1]), number % max(1, self.bases[-1])
        alone = address < self.first_copied
        size = self._id_bytes(nodes)
        numbers = tf.reshape(pack(tf.boolean_mask(number, alone), size), (-1,))
        splits = size * tf.math.bincount(tf.boolean_mask(rank, alone), minlength=self.ranks)
        width = self._bit_bytes(nodes) if copied else 0
        if not width:
            return numbers, splits
        place = node * (self.bases[-1] - self.first_copied) + address - self.first_copied
        line, place = (tf.boolean_mask(each, ~alone) for each in (tf.cast(rank, tf.int64), place))
        bits = tf.RaggedTensor.from_tensor(to_bits(line, place, self.ranks, width), row_splits_dtype=tf.int32)
        numbers = tf.RaggedTensor.from_row_lengths(numbers, splits, validate=False)
        return tf.concat([bits, numbers], axis=1).values, splits + width

    def _unpacked(self, message: Any, parts: Any, nodes: int, copied: bool) -> tuple[Any, Any]:
        """What was sent as `_packed` does it: by which rank, (n,) int32, and the numbers, (n,) int64."""
        size, width = self._id_bytes(nodes), self._bit_bytes(nodes) if copied else 0
        ranks = tf.range(self.ranks)
        if not width:
            return tf.repeat(ranks, parts // size), unpack(tf.reshape(message, (-1, size)))
        lengths = tf.reshape(tf.stack([tf.fill([self.ranks], width), parts - width], axis=1), (-1,))
        cut = tf.RaggedTensor.from_row_lengths(message, lengths, validate=False)
        source, place = from_bits(tf.reshape(cut[0::2].values, (self.ranks, width)))
        each = int(self.bases[-1]) - self.first_copied
        number = place // each * int(self.bases[-1]) + self.first_copied + place % each
        alone = unpack(tf.reshape(cut[1::2].values, (-1, size)))
        sources = tf.repeat(ranks, (parts - width) // size), tf.cast(source, tf.int32)
        return tf.concat(sources, 0), tf.concat([alone, number], 0)

    def _id_bytes(self, nodes: int) -> int:
        return bytes_for(self.bases[-1] * (nodes - 1) + self.first_copied - 1)

    def _bit_bytes(self, nodes: int) -> int:
        return -(-nodes * (int(self.bases[-1]) - self.first_copied) // 8)

    def _kind(self, number: Any) -> Any:
        address = number % max(1, self.bases[-1])
        return tf.searchsorted(tf.constant(self.bases[1:], tf.int64), address, side="right")

    def _counts(self, rank: Any, kind: Any, number: Any) -> Any:
        """(ranks, kinds) int32: how many vectors are asked of each rank, of each kind."""
        kinds, place = len(self.widths), rank * len(self.widths) + kind
        if self.sums.any():
            place = tf.boolean_mask(place, ~tf.gather(self.sums, kind) | (self._within(number, kind) % 2 == 1))
        return tf.reshape(tf.math.bincount(place, minlength=self.ranks * kinds), (self.ranks, kinds))

    def _within(self, number: Any, kind: Any) -> Any:
        """Addresses, counted from their kind's first."""
        return number - tf.gather(tf.constant(self.bases[:-1], tf.int64), kind)

    def _owned(self, number: Any, kind: Any) -> list[Any]:
        """This rank's own rows, or sums of them."""
        within = self._within(number, kind)
        rows = [tf.boolean_mask(within, kind == k) for k in range(len(self.widths))]
        for k, shards in enumerate(self.shards, len(self.shards)):
            if not shards.copies:
                continue
            first = shards.first_owned_copy[:, comm.rank()]
            of = tf.searchsorted(tf.constant(first[1:], tf.int64), rows[k], side="right")
            rows[k] += tf.gather(tf.constant(shards.first_local_row[:, comm.rank()] - first, tf.int64), of)
        return [
            self._bag_sums(k, some) if self.sums[k] else tf.gather(self.variables[k % len(self.shards)], some)
            for k, some in enumerate(rows)
        ]

    def _bag_sums(self, k: int, marked: Any) -> Any:
        bag = tf.cumsum(tf.cast(marked % 2, tf.int32)) - 1
        return tf.math.segment_sum(tf.gather(self.variables[k], marked // 2), bag)

    def _relayed(self, training: bool) -> Callable[[Any, Any], list[Any]]:
        """Rows of the ranks that have this rank's place in their nodes, asked for once for all of this node."""

        def answer(number: Any, kind: Any) -> list[Any]:
            distinct, position = tf.unique(number)
            node = tf.cast(distinct // self.bases[-1], tf.int32)
            rank = node * self.per_node + comm.rank() % self.per_node
            address = distinct % self.bases[-1]
            kind_distinct = self._kind(distinct)
            answers = self._ask(rank, address, 1, self._owned, training, ".nodes")
            found = []
            for k, vectors in enumerate(answers):
                within = tf.cumsum(tf.cast(kind_distinct == k, tf.int32)) - 1
                found.append(tf.gather(vectors, tf.gather(within, tf.boolean_mask(position, kind == k))))
            return found

        return answer


@dataclass(frozen=True)
class Swap:
    """How vectors go from rank to rank and their gradients back.

    Args:
        name: of the messages.
        widths: of the vectors of each kind: those of each stack, and then those of the copied rows of each.
        dtype, wire: in which vectors are kept, and sent.
        training: whether gradients may be asked for.
    """

    name: str
    widths: Sequence[int]
    dtype: str
    wire: str
    training: bool

    def send(self, vectors: Sequence[Any], there: Any, here: Any, what: str) -> list[Any]:
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
        parts = tf.RaggedTensor.from_row_lengths(tf.cast(received, self.dtype), lengths, validate=False)
        return [
            tf.reshape(parts[k :: len(self.widths)].values, (-1, width)) for k, width in enumerate(self.widths)
        ]


def _answers(inputs: Sequence[Any], **swap: Any) -> list[Any]:
    """This rank's answers, by kind -> those it gets; copied rows need none, so theirs are zeros."""
    how = Swap(**swap)
    kinds = len(how.widths)
    stacks = kinds // 2
    mine, (sent, got) = inputs[:kinds], inputs[kinds : kinds + 2]
    answered = np.array([1] * stacks + [0] * stacks, np.int32)
    received = how.send(mine[:stacks], got * answered, sent * answered, ".vectors")
    silent = [tf.zeros((tf.reduce_sum(sent[:, k]), how.widths[k]), how.dtype) for k in range(stacks, kinds)]
    return [*received[:stacks], *silent]


def _gradients(inputs: Sequence[Any], upstream: Sequence[Any], **swap: Any) -> list[Any]:
    """The gradients of what this rank got -> those of its answers."""
    how = Swap(**swap)
    kinds = len(how.widths)
    sent, got = inputs[kinds:]
    if not how.training:
        raise ValueError(f"{how.name}: where gradients are asked for, call it with training=True")
    gradients = how.send([tf.convert_to_tensor(each) for each in upstream], sent, got, ".gradients")
    return [*gradients, *([None] * (len(inputs) - kinds))]


_ANSWERS = Operation("KerasrecExchange", _answers, _gradients)
