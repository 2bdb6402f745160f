"""Which features look up which stacks of tables, and in which rows of a stack their ids lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from kerasrec.layers.embedding.bags import combine, with_padding
from kerasrec.tables.bags import Bags
from kerasrec.tables.config import FeatureConfig, TableConfig
from kerasrec.tables.plan import Plan
from kerasrec.tables.sharding import ShardedStack, column_slices
from kerasrec.tables.stack import Stack
from kerasrec.typing import Tensor


@dataclass(frozen=True)
class Part:
    """A feature's lookup in its table, or in one slice of the table's columns.

    Args:
        feature: the feature's name.
        table: the table, or the slice as a table of its own.
    """

    feature: str
    table: TableConfig

    @property
    def key(self) -> tuple[str, str]:
        return self.feature, self.table.name


class LookupParts:
    """The lookups of a layer's features, by stack. (A plain object: Keras would track what is in a list.)

    Args:
        features: the features by name.
        plan: where the tables live.
        shards: their stacks.
    """

    def __init__(self, features: Mapping[str, FeatureConfig], plan: Plan, shards: Sequence[ShardedStack]):
        self.parts = [
            Part(name, cut.table)
            for name, config in features.items()
            for cut in column_slices(plan, config.table.name)
        ]
        self.stacks = [each.stack for each in shards]

    def of_stacks(self, bags: Mapping[str, Bags]) -> Iterator[tuple[list[Part], list[Bags]]]:
        """Yield, stack by stack, its lookups and their bags, whose ids are of one dtype."""
        for stack in self.stacks:
            parts = [part for part in self.parts if part.table.name in stack.offsets]
            parts.sort(key=lambda part: not bags[part.feature].single)  # `stack_rows` takes these together
            yield parts, _of_one_dtype([bags[part.feature] for part in parts], stack)

    def by_feature(self, vectors: Sequence[tuple[list[Part], list[Tensor]]]) -> dict[str, Tensor]:
        """Return each feature's vectors, given those of each stack's lookups, slices side by side."""
        by_part = {part.key: each for parts, outputs in vectors for part, each in zip(parts, outputs, strict=True)}
        columns: dict[str, list[Tensor]] = {}
        for part in self.parts:
            columns.setdefault(part.feature, []).append(by_part[part.key])
        return {
            name: each[0] if len(each) == 1 else ops.concatenate(each, axis=-1) for name, each in columns.items()
        }


def _of_one_dtype(bags: list[Bags], stack: Stack) -> list[Bags]:
    dtypes = {keras.backend.standardize_dtype(each.ids.dtype) for each in bags}
    if stack.rows > 2**31 - 1 or len(dtypes) > 1:
        return [each._replace(ids=ops.cast(each.ids, "int64")) for each in bags]
    return bags


def stack_rows(stack: Stack, parts: Sequence[Part], bags: Sequence[Bags]) -> Tensor:
    """Return the rows of a stack in which ids lie, lookup after lookup: (n,) int32 or int64.

    Raises:
        tf.errors.InvalidArgumentError: (TensorFlow) an id that is not a row of its table; names the feature. On
            JAX, where compiled code cannot raise, such an id leaves the stack, so that it reads no other table.
    """
    # Features of one id per row of the batch go through the few operations below at once, (features, batch).
    blocks: list[list[int]] = []
    for k, each in enumerate(bags):
        if blocks and each.single and bags[blocks[-1][0]].single:
            blocks[-1].append(k)
        else:
            blocks.append([k])
    ids = [ops.stack([bags[k].ids for k in block]) for block in blocks]
    rows, strays = [], []
    for block, of_block in zip(blocks, ids, strict=True):
        dtype = keras.backend.standardize_dtype(of_block.dtype)
        sizes = ops.convert_to_tensor([[parts[k].table.vocabulary_size] for k in block], dtype)
        offsets = ops.convert_to_tensor([[stack.offsets[parts[k].table.name]] for k in block], dtype)
        strays.append(ops.logical_or(of_block < 0, of_block >= sizes))
        rows.append(of_block + offsets)
    if keras.backend.backend() == "tensorflow":
        rows = _refuse_strays(strays, parts, ids, rows)
    else:
        outside = [ops.cast(stack.rows, row.dtype) for row in rows]
        rows = [ops.where(*each) for each in zip(strays, outside, rows, strict=True)]
    rows = [ops.reshape(row, (-1,)) for row in rows]
    return rows[0] if len(rows) == 1 else ops.concatenate(rows)


def _refuse_strays(
    strays: Sequence[Tensor], parts: Sequence[Part], ids: Sequence[Tensor], rows: Sequence[Tensor]
) -> list[Tensor]:
    """Return `rows` if no id is stray; in a stack it would read another table."""
    import tensorflow as tf

    def first(flags: Tensor) -> Tensor:
        return tf.argmax(tf.cast(flags, tf.int32))

    def flat(blocks: Sequence[Tensor]) -> Tensor:
        return tf.concat([tf.reshape(block, [-1]) for block in blocks], 0)

    bad = tf.concat([tf.reduce_any(block, axis=1) for block in strays], 0)
    texts = [
        (f"feature {part.feature!r}: id ", f" is out of range [0, {size}) of table {part.table.name!r}")
        for part in parts
        for size in [part.table.vocabulary_size]
    ]

    # Few operations, whatever the number of features: each one makes a served graph slower to load.
    def fail() -> Tensor:
        before, after = tf.unstack(tf.gather(texts, first(bad)), 2)
        stray = tf.as_string(flat(ids)[first(flat(strays))])
        with tf.control_dependencies([tf.debugging.Assert(False, [tf.strings.join([before, stray, after])])]):
            return tf.constant(False)

    with tf.control_dependencies([tf.cond(tf.reduce_any(bad), fail, lambda: tf.constant(True))]):
        return [tf.identity(row) for row in rows]


def combined(vectors: Tensor, parts: Sequence[Part], bags: Sequence[Bags], dtype: str) -> list[Tensor]:
    """Return the combined vectors of each lookup's bags, given those of all `stack_rows`, (n, dim)."""
    sizes = [each.ids.shape[0] for each in bags]
    if len(bags) == 1:
        pieces = [vectors]
    elif None in sizes:
        import tensorflow as tf

        pieces = tf.split(vectors, [tf.size(each.ids) for each in bags], num=len(bags))
    else:
        pieces = ops.split(vectors, np.cumsum(sizes)[:-1].tolist())
    return [
        ops.cast(combine(piece, each, part.table.combiner), dtype)
        for piece, each, part in zip(pieces, bags, parts, strict=True)
    ]


def padded_again(
    vectors: Sequence[Tensor], parts: Sequence[Part], padded: Sequence[Bags], bags: Sequence[Bags]
) -> list[Tensor]:
    """Return vectors that stay apart with zeros for the padding that was removed from `padded` to get `bags`."""
    removed = [
        part.table.combiner is None and before.padded and not after.padded
        for part, before, after in zip(parts, padded, bags, strict=True)
    ]
    return [
        with_padding(each, before) if is_removed else each
        for each, before, is_removed in zip(vectors, padded, removed, strict=True)
    ]
