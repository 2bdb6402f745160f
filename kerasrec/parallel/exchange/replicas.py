"""Replicas of frequent rows: every rank reads its own; owners update the rows and send those that changed.

TensorFlow only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from kerasrec.parallel import comm
from kerasrec.parallel.comm.message_parts import from_bits, to_bits
from kerasrec.tables.row_io import row_blocks
from kerasrec.tables.sharding import ShardedStack
from kerasrec.tables.variables import TableVariable


class ReplicaRefresh:
    """Keeps every rank's replicas equal to the rows themselves, which their owners update.

    Which rows changed is sent as one bit for each replicated row that a rank owns.
    """

    def __init__(self, shards: ShardedStack, replicas: Any, rank: int, name: str):
        self.shards, self.replicas, self.rank, self.name = shards, replicas, rank, name
        self.bytes = -(-shards.max_owned_replicas // 8)
        places = [
            [each.owners.index(r) if r in each.owners else 0 for each in shards.slices]
            for r in range(shards.ranks)
        ]
        # Of each rank's part of each slice, rank by rank: where its replicated rows begin among all of the
        # rank's, where they begin in the variable of replicas, and how far apart they are there.
        self.begins = (
            shards.first_owned_replica[:-1].T + 8 * self.bytes * np.arange(shards.ranks)[:, None]
        ).ravel()
        self.first = (shards.first_replica[:-1] + np.array(places)).ravel()
        self.apart = np.tile(shards.owner_count, shards.ranks)

    def refresh(self, table: TableVariable, rows: Any) -> None:
        """Send all ranks the replicated ones among rows of this rank's variable, and write theirs.

        Every rank must call it.

        Args:
            table: the variable.
            rows: (n,) distinct rows of the variable; n may be 0.
        """
        shards, rank = self.shards, self.rank
        rows = tf.cast(rows, tf.int64)
        of = tf.searchsorted(tf.constant(shards.first_local_row[1:, rank], tf.int64), rows, side="right")
        within = rows - tf.gather(tf.constant(shards.first_local_row[:, rank], tf.int64), of)
        first = tf.constant(shards.first_owned_replica[:, rank], tf.int64)
        replicated = within < tf.gather(first[1:] - first[:-1], of)
        place = tf.boolean_mask(tf.gather(first, of) + within, replicated)
        order = tf.argsort(place)
        values = tf.gather(table.value, tf.gather(tf.boolean_mask(rows, replicated), order))
        bits = to_bits(tf.zeros_like(place), place, 1, self.bytes)
        all_bits = comm.allgather(bits, f"{self.name}.changed")
        values = comm.allgather(values, f"{self.name}.copies")
        owner, place = from_bits(tf.ensure_shape(all_bits, (shards.ranks, self.bytes)))
        place += owner * 8 * self.bytes
        part = tf.searchsorted(tf.constant(self.begins, tf.int64), place, side="right") - 1
        along = (place - tf.gather(tf.constant(self.begins, tf.int64), part)) * tf.gather(
            tf.constant(self.apart, tf.int64), part
        )
        tf.raw_ops.ResourceScatterUpdate(
            resource=self.replicas.handle,
            indices=tf.gather(tf.constant(self.first, tf.int64), part) + along,
            updates=values,
        )

    def refresh_all(self, table: TableVariable) -> None:
        """Send all ranks all replicated rows, about 16 MiB of this rank's at a time. Every rank must call it."""
        local_rows = self.shards.first_local_row[-1]
        for start, stop in row_blocks(int(local_rows.max()), 4 * self.shards.stack.embedding_dim):
            self.refresh(table, np.arange(start, min(stop, int(local_rows[self.rank]))))
