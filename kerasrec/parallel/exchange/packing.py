"""Requests as bytes: a row is a number of the fewest bytes, a replica is one bit. TensorFlow only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kerasrec.parallel.comm.message_parts import cut, from_bits, join, to_bits
from kerasrec.parallel.exchange.stacks import Requests, Rows
from kerasrec.tables.byte_sizes import bytes_for
from kerasrec.typing import Tensor


class Asked(NamedTuple):
    """Rows that other ranks ask this one for, as columns (n,)."""

    rank: Tensor  # int32: who asks; ascending, first for rows, then for replicas
    stack: Tensor  # int32
    row: Tensor  # int64
    begins: Tensor | None  # whether another vector begins with the row; None where one does with each


class Packing:
    """Numbers what a rank may be asked for: rows stack after stack, in a pooled stack by twos, of which the odd
    number begins a vector; and then, stack after stack, the rows that have replicas. A rank that relays requests
    is asked for the rows of several `owners`.
    """

    def __init__(self, stacks: Sequence[Rows], owners: int = 1):
        self.ranks, self.stacks = stacks[0].shards.ranks, 2 * len(stacks)
        self.pooled = np.array([stack.pooled for stack in stacks] + [False] * len(stacks))
        rows = [int(stack.shards.first_local_row[-1].max()) for stack in stacks]
        self.sizes = np.array([*rows, *(stack.shards.max_owned_replicas for stack in stacks)])  # of an owner
        self.first = np.cumsum([0, *(self.sizes * owners << self.pooled)])
        self.rows = int(self.first[len(stacks)])
        self.row_bytes, self.bit_bytes = bytes_for(self.rows - 1), -(-int(self.first[-1] - self.rows) // 8)

    def order(self, requests: Requests) -> tuple[Requests, Tensor | None]:
        """Return requests by owner, stack and row, but a bag's rows one after another; and `Asked.begins`."""
        place = tf.gather(self.first, requests.stack) + requests.row
        if self.pooled.any():
            place -= tf.where(tf.gather(self.pooled, requests.stack), requests.row, 0)
        order = tf.argsort(tf.cast(requests.owner, tf.int64) * int(self.first[-1]) + place, stable=True)
        requests = Requests(*(tf.gather(column, order) for column in requests))
        if not self.pooled.any():
            return requests, None
        owner, stack, _, vector = (column[1:] != column[:-1] for column in requests)
        return requests, tf.concat([tf.ones_like(order[:1], tf.bool), owner | stack | vector], 0)

    def pack(self, requests: Requests, begins: Tensor | None, training: bool) -> tuple[Tensor, Tensor]:
        """Return what to send, uint8, and the bytes each rank gets: in training bits of replicas, and rows."""
        to, row = requests.owner, requests.row
        if begins is not None:
            row = tf.where(tf.gather(self.pooled, requests.stack), 2 * row + tf.cast(begins, tf.int64), row)
        number = tf.gather(self.first, requests.stack) + row
        if self.bit_bytes:
            line, place = (tf.boolean_mask(each, number >= self.rows) for each in (to, number - self.rows))
            to, number = (tf.boolean_mask(each, number < self.rows) for each in (to, number))
        rows = tf.bitcast(number, tf.uint8)[:, : self.row_bytes]  # the lowest bytes come first
        splits = self.row_bytes * tf.math.bincount(to, minlength=self.ranks)
        if not (training and self.bit_bytes):
            return tf.reshape(rows, (-1,)), splits
        bits = to_bits(tf.cast(line, tf.int64), place, self.ranks, self.bit_bytes)
        return join([bits, rows], tf.stack([tf.fill([self.ranks], self.bit_bytes), splits], axis=1))

    def unpack(self, message: Tensor, splits: Tensor, training: bool) -> Asked:
        """Return the requests in what was received, given how many bytes of it came from each rank."""
        bits, bit_bytes = None, self.bit_bytes if training else 0
        if bit_bytes:
            splits -= bit_bytes
            bits, message = cut(message, tf.stack([tf.fill([self.ranks], bit_bytes), splits], axis=1))
        rank = tf.repeat(tf.range(self.ranks), splits // self.row_bytes)
        rows = tf.reshape(message, (-1, self.row_bytes))
        number = tf.bitcast(tf.pad(rows, [[0, 0], [0, 8 - self.row_bytes]]), tf.int64)
        if bits is not None:
            line, place = from_bits(tf.reshape(bits, (self.ranks, bit_bytes)))
            rank, number = tf.concat([rank, tf.cast(line, tf.int32)], 0), tf.concat([number, place + self.rows], 0)
        stack = tf.searchsorted(self.first[1:], number, side="right")
        row = number - tf.gather(self.first, stack)
        if not self.pooled.any():
            return Asked(rank, stack, row, None)
        pooled = tf.gather(self.pooled, stack)
        return Asked(rank, stack, tf.where(pooled, row // 2, row), ~pooled | (row % 2 == 1))

    def counts(self, rank: Tensor, stack: Tensor, begins: Tensor | None) -> Tensor:
        """Return (ranks, stacks) int32: how many vectors are asked of each rank, or by it."""
        place = (
            rank * self.stacks + stack if begins is None else tf.boolean_mask(rank * self.stacks + stack, begins)
        )
        counts = tf.math.bincount(place, minlength=self.ranks * self.stacks)
        return tf.reshape(counts, (self.ranks, self.stacks))
