"""The exchange of a step: each rank asks for the rows it looks up, owners answer, gradients go the same way back.

    ids        distinct rows, sorted by owner, packed in the fewest bytes     one alltoall
    vectors    the owners' answers, in the order they were asked for          one alltoall
    gradients  one for each distinct row, times this rank's share             one alltoall, in the backward pass

Copied rows (those of replicated tables, the frequent ones of hybrid tables) are read from this rank's own copy. In
training their owners are told their ids as well, since the gradients go to the owners; after the update these send
every rank the rows that changed (`Copies`).

TensorFlow only. Source: HugeCTR's embeddings (https://arxiv.org/abs/2210.08803), with distinct rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kerasrec.parallel import comm
from kerasrec.parallel.rows import row_blocks
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
    """

    def __init__(
        self, shards: Sequence[Shards], variables: Sequence[Any], copies: Sequence[Any], name: str, wire: str
    ):
        self.shards, self.variables, self.copies, self.name = shards, variables, copies, name
        self.wire = tf.as_dtype(wire)
        self.ranks = shards[0].ranks
        # A request's kind is its stack; copied rows, which need no answer, are kinds of their own after these.
        self.widths = [each.stack.embedding_dim for each in shards] * 2
        sizes = [int(each.first_local_row[-1].max()) for each in shards]
        some_copies = any(each.copies for each in shards)
        # What is sent for a row is its number in its owner's variables, one variable after another.
        self.bases = np.cumsum([0, *sizes, *(sizes if some_copies else [0] * len(sizes))])
        self.id_bytes = bytes_for(self.bases[-1] - 1)

    def vectors(self, wanted: Sequence[Any], share: Any | None) -> list[Any]:
        """The vectors of distinct rows of each stack.

        Args:
            wanted: of each stack, distinct rows as `Shards.stack` counts them, (n,) int32 or int64.
            share: what this rank's gradients are multiplied by; None where there will be none.

        Returns:
            For each stack (n, width) float32. The gradients of `variables` are those of all ranks together.
        """
        requests = self._route(wanted)
        kinds, stacks = len(self.widths), len(self.shards)
        told = tf.fill(tf.shape(requests.kind), True) if share is not None else requests.kind < stacks
        place = tf.boolean_mask(requests.rank * kinds + requests.kind, told)
        sent = tf.reshape(tf.math.bincount(place, minlength=self.ranks * kinds), (self.ranks, kinds))
        message = pack(tf.boolean_mask(requests.address, told), self.id_bytes)
        packed, parts = comm.alltoall(message, tf.reduce_sum(sent, axis=1), f"{self.name}.ids")
        asked = unpack(packed)
        kind = tf.searchsorted(tf.constant(self.bases[1:], tf.int64), asked, side="right")
        source = tf.repeat(tf.range(self.ranks), parts)
        got = tf.math.bincount(source * kinds + kind, minlength=self.ranks * kinds)
        got = tf.reshape(got, (self.ranks, kinds))
        rows = asked - tf.gather(tf.constant(self.bases[:-1], tf.int64), kind)
        owned = [tf.gather(self.variables[k % stacks], tf.boolean_mask(rows, kind == k)) for k in range(kinds)]
        answers = self._answers(owned, self._copied(wanted, requests), sent, got, share)
        return [self._in_order(k, wanted[k], requests, answers) for k in range(stacks)]

    # ---- who is asked for what --------------------------------------------------------------------------------
    def _route(self, wanted: Sequence[Any]) -> Requests:
        ranks, kinds, addresses, places = [], [], [], []
        for k, (shards, rows) in enumerate(zip(self.shards, wanted, strict=True)):
            rows = tf.cast(rows, tf.int64)
            of = tf.searchsorted(tf.constant(shards.first_row[1:], tf.int64), rows, side="right")
            row = rows - tf.gather(tf.constant(shards.first_row, tf.int64), of)
            count = tf.gather(tf.constant(shards.owner_count, tf.int64), of)
            place = tf.cast(row % count, tf.int32)
            rank = tf.gather_nd(tf.constant(shards.owners, tf.int32), tf.stack([of, place], axis=1))
            first = tf.gather_nd(tf.constant(shards.first_local_row, tf.int64), tf.stack([of, rank], axis=1))
            copied = row < tf.gather(tf.constant(shards.frequent_rows, tf.int64), of)
            kind = tf.where(copied, k + len(self.shards), k)
            ranks.append(rank)
            kinds.append(kind)
            addresses.append(tf.gather(tf.constant(self.bases, tf.int64), kind) + first + row // count)
            places.append(tf.range(tf.size(rows)))
        rank, kind = tf.concat(ranks, 0), tf.concat(kinds, 0)
        order = tf.argsort(rank * len(self.widths) + kind, stable=True)
        parts = (rank, kind, tf.concat(addresses, 0), tf.concat(places, 0))
        return Requests(*(tf.gather(part, order) for part in parts))

    def _copied(self, wanted: Sequence[Any], requests: Requests) -> list[Any]:
        """This rank's copies of rows it would ask for otherwise; by stack, in the order of requests."""
        copied = []
        for k, shards in enumerate(self.shards):
            if self.copies[k] is None:
                copied.append(tf.zeros((0, shards.stack.embedding_dim)))
                continue
            rows = tf.gather(wanted[k], requests.place_of(k + len(self.shards)))
            copied.append(tf.gather(self.copies[k], self._copy_of(shards, rows)))
        return copied

    @staticmethod
    def _copy_of(shards: Shards, rows: Any) -> Any:
        rows = tf.cast(rows, tf.int64)
        of = tf.searchsorted(tf.constant(shards.first_row[1:], tf.int64), rows, side="right")
        return rows + tf.gather(tf.constant(shards.first_copy[:-1] - shards.first_row[:-1], tf.int64), of)

    # ---- vectors there, gradients back ------------------------------------------------------------------------
    def _answers(self, owned: list[Any], copied: list[Any], sent: Any, got: Any, share: Any) -> list[Any]:
        """By kind, the vectors of what this rank asked for: owners' answers and its own copies."""
        stacks = len(self.shards)
        answered = np.array([1] * stacks + [0] * stacks, np.int32)

        @tf.custom_gradient
        def answer(*owned: Any) -> Any:
            received = self._swap(owned[:stacks], got * answered, sent * answered, "vectors")

            def gradient(*upstream: Any) -> list[Any]:
                mine = [tf.math.multiply_no_nan(tf.convert_to_tensor(each), share) for each in upstream]
                return self._swap(mine, sent, got, "gradients")

            return [*received[:stacks], *map(tf.stop_gradient, copied)], gradient

        return answer(*owned)

    def _swap(self, vectors: Sequence[Any], there: Any, here: Any, what: str) -> list[Any]:
        """Send vectors of each kind and receive as many as `here` says; both are counts (ranks, kinds)."""
        widths = self.widths[: len(vectors)]
        # One message a rank: its vectors of the first kind, those of the second, ... as plain numbers.
        flat = [
            tf.RaggedTensor.from_row_lengths(tf.reshape(each, (-1,)), there[:, k] * width, validate=False)
            for k, (each, width) in enumerate(zip(vectors, widths, strict=True))
        ]
        message = (flat[0] if len(flat) == 1 else tf.concat(flat, axis=1)).values
        splits = tf.reduce_sum(there * np.array(self.widths, np.int32), axis=1)
        received, _ = comm.alltoall(tf.cast(message, self.wire), splits, f"{self.name}.{what}")
        lengths = tf.reshape(here * np.array(self.widths, np.int32), (-1,))
        parts = tf.RaggedTensor.from_row_lengths(tf.cast(received, tf.float32), lengths, validate=False)
        return [
            tf.reshape(parts[k :: len(self.widths)].values, (-1, width)) for k, width in enumerate(self.widths)
        ]

    def _in_order(self, k: int, wanted: Any, requests: Requests, answers: list[Any]) -> Any:
        """A stack's vectors, from the order of requests back to that of `wanted`."""
        kinds = (k, k + len(self.shards))
        places = tf.concat([requests.place_of(kind) for kind in kinds], 0)
        found = tf.gather(tf.concat([answers[kind] for kind in kinds], 0), tf.math.invert_permutation(places))
        return tf.ensure_shape(found, (None, self.widths[k]))


@dataclass(frozen=True)
class Requests:
    """What is asked for, sorted by the rank that is asked and the kind: tensors (n,)."""

    rank: Any
    kind: Any
    address: Any
    place: Any  # in what was wanted of the stack

    def place_of(self, kind: int) -> Any:
        return tf.boolean_mask(self.place, self.kind == kind)


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

    def refresh_all(self) -> None:
        """Send every rank all copied rows, some 16 MiB of this rank's at a time. All ranks must come here."""
        held = self.shards.first_local_row[-1]
        for start, stop in row_blocks(int(held.max()), 4 * self.shards.stack.embedding_dim):
            self.refresh(np.arange(start, min(stop, int(held[self.rank]))))


def bytes_for(largest: int) -> int:
    """The fewest bytes that hold numbers from 0 to `largest`."""
    return max(1, (int(largest).bit_length() + 7) // 8)


def pack(numbers: Any, size: int) -> Any:
    """(n,) int64 from 0 on -> (n, size) uint8, the low bytes, lowest first."""
    return tf.bitcast(numbers, tf.uint8)[:, :size]


def unpack(packed: Any) -> Any:
    """(n, size) uint8 -> (n,) int64."""
    return tf.bitcast(tf.pad(packed, [[0, 0], [0, 8 - packed.shape[1]]]), tf.int64)
