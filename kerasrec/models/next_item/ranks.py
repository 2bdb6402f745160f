"""The rank of each row's item among all items, within an evaluation step."""

from __future__ import annotations

import keras
from keras import ops

from kerasrec.typing import Tensor

BLOCK = 2**23  # scores in memory at once
MISSED = 2**31 - 1


def target_ranks(
    queries: Tensor, matrix: Tensor, targets: Tensor, first_id: int, seen: Tensor | None = None
) -> Tensor:
    """Return how many other items score at least as much as each query's own, `(rows,)` int32; 0 is the best rank.

    So ties, and scores that are not numbers, count against the model. An own item below `first_id` has the rank
    `MISSED`, which no number of recommendations reaches.

    Args:
        queries: `(rows, dim)`.
        matrix: the vectors of all ids, `(count, dim)`.
        targets: the own item of each query, `(rows,)`.
        first_id: the first id of an item.
        seen: ids that are left out for each row, unless they are its own, `(rows, n)` padded with 0 or ragged.
    """
    transposed, count = ops.transpose(ops.cast(matrix, queries.dtype)), matrix.shape[0]
    step = max(BLOCK // count, 8)
    if keras.backend.backend() == "tensorflow":
        return _in_loop(queries, transposed, targets, first_id, seen, step)
    blocks = [
        _ranks(
            queries[start : start + step],
            transposed,
            targets[start : start + step],
            first_id,
            None if seen is None else seen[start : start + step],
        )
        for start in range(0, queries.shape[0], step)
    ]
    return blocks[0] if len(blocks) == 1 else ops.concatenate(blocks)


def _in_loop(
    queries: Tensor, transposed: Tensor, targets: Tensor, first_id: int, seen: Tensor | None, step: int
) -> Tensor:
    import tensorflow as tf

    blocks = tf.maximum(-(-tf.shape(queries)[0] // step), 1)

    def add_block(k: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor]:
        here = slice(k * step, (k + 1) * step)
        left_out = None if seen is None else seen[here].to_tensor()
        return k + 1, ranks.write(k, _ranks(queries[here], transposed, targets[here], first_id, left_out))

    ranks = tf.TensorArray(tf.int32, blocks, infer_shape=False, element_shape=(None,))
    _, ranks = tf.while_loop(lambda k, _: k < blocks, add_block, (0, ranks), parallel_iterations=1)
    return tf.ensure_shape(ranks.concat(), (None,))


def _ranks(queries: Tensor, transposed: Tensor, targets: Tensor, first_id: int, seen: Tensor | None) -> Tensor:
    scores = ops.matmul(queries, transposed)
    targets = ops.expand_dims(ops.cast(targets, "int32"), 1)
    own = ops.take_along_axis(scores, targets, axis=1)
    left_out = targets if seen is None else ops.concatenate([targets, ops.cast(seen, "int32")], axis=1)
    rows = ops.arange(ops.shape(left_out)[0], dtype="int32")[:, None] + ops.zeros_like(left_out)
    places = ops.stack([ops.reshape(rows, (-1,)), ops.reshape(left_out, (-1,))], axis=1)
    lowest = ops.full(ops.shape(places)[:1], float("-inf"), scores.dtype)
    others = ops.scatter_update(scores, places, lowest)[:, first_id:]
    ranks = ops.sum(ops.cast(ops.logical_not(others < own), "int32"), axis=1)
    return ops.where(targets[:, 0] < first_id, MISSED, ranks)
