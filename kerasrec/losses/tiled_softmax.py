"""The cross-entropy among many items with its gradients, tile by tile of queries and items. TensorFlow only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from kerasrec.typing import Tensor

QUERIES, ITEMS = 1024, 2048  # of a tile, whose scores are 8 MB


def sums_and_gradients(
    queries: Tensor, matrix: Tensor, positives: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weighted sum of losses and its gradients by queries and items.

    Scores are computed twice: block by block of queries for the normaliser `log sum_j exp(q . e_j)` and the
    gradient by `q`, where the maximum so far is kept and sums are scaled when it grows; then block by block of
    items for the gradient by `e_j`, which needs the normalisers. So either gradient is written once, and the
    scores of a tile are all that is in memory.

    Args:
        queries: `(n, dim)`.
        matrix: the items' vectors, `(count, dim)`.
        positives: the row of each query's item, `(n,)`.
        weights: `(n,)`.

    Source: the running maximum: Milakov, Gimelshein, "Online normalizer calculation for softmax",
    https://arxiv.org/abs/1805.02867
    """
    count, weights = tf.shape(matrix)[0], weights[:, None]

    def of_queries(here: slice) -> tuple[Tensor, Tensor, Tensor]:
        q, own = queries[here], tf.gather(matrix, positives[here])
        normaliser, expected = _normalised(q, matrix)
        losses = weights[here] * (normaliser - tf.reduce_sum(q * own, axis=1, keepdims=True))
        return normaliser, losses, weights[here] * (expected - own)

    width = queries.shape[-1]
    normalisers, losses, by_query = _over_blocks(of_queries, tf.shape(queries)[0], QUERIES, (1, 1, width))

    def of_items(here: slice) -> tuple[Tensor]:
        return (_of_items(matrix[here], queries, normalisers, weights),)

    (by_item,) = _over_blocks(of_items, count, ITEMS, (width,))
    own = tf.math.unsorted_segment_sum(queries * weights, positives, count)
    return tf.reduce_sum(losses), by_query, by_item - own


def _normalised(q: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return `log sum_j exp(q . e_j)`, `(rows, 1)`, and the mean of `e_j` by these shares, `(rows, dim)`."""

    def add(k: Tensor, largest: Tensor, sums: Tensor, total: Tensor) -> tuple[Tensor, ...]:
        e = matrix[k * ITEMS : (k + 1) * ITEMS]
        scores = tf.matmul(q, e, transpose_b=True)
        higher = tf.maximum(largest, tf.reduce_max(scores, axis=1, keepdims=True))
        scale, exponentials = tf.exp(largest - higher), tf.exp(scores - higher)
        sums = sums * scale + tf.reduce_sum(exponentials, axis=1, keepdims=True)
        return k + 1, higher, sums, total * scale + tf.matmul(exponentials, e)

    blocks, zeros = -(-tf.shape(matrix)[0] // ITEMS), tf.zeros_like(q[:, :1])
    start = (0, zeros - float("inf"), zeros, tf.zeros_like(q))
    _, largest, sums, total = tf.while_loop(lambda k, *_: k < blocks, add, start, parallel_iterations=1)
    return largest + tf.math.log(sums), total / sums


def _of_items(e: Tensor, queries: Tensor, normalisers: Tensor, weights: Tensor) -> Tensor:
    """Return `sum_i w_i p_ij q_i` for items `e`, `(rows, dim)`."""

    def add(k: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        here = slice(k * QUERIES, (k + 1) * QUERIES)
        q = queries[here]
        shares = tf.exp(tf.matmul(q, e, transpose_b=True) - normalisers[here])
        return k + 1, total + tf.matmul(shares, q * weights[here], transpose_a=True)

    blocks = -(-tf.shape(queries)[0] // QUERIES)
    start = (0, tf.zeros_like(e))
    return tf.while_loop(lambda k, _: k < blocks, add, start, parallel_iterations=1)[1]


def _over_blocks(
    function: Callable[[slice], Sequence[Tensor]], rows: Tensor, size: int, widths: Sequence[int]
) -> list[Tensor]:
    """Return what a function makes of blocks of rows, `(rows, width)` each, one block's after another's."""
    blocks = tf.maximum(-(-rows // size), 1)

    def add(k: Tensor, *arrays: tf.TensorArray) -> tuple[Tensor, ...]:
        found = function(slice(k * size, (k + 1) * size))
        return k + 1, *(array.write(k, part) for array, part in zip(arrays, found, strict=True))

    arrays = [
        tf.TensorArray(tf.float32, blocks, infer_shape=False, element_shape=(None, width)) for width in widths
    ]
    _, *arrays = tf.while_loop(lambda k, *_: k < blocks, add, (0, *arrays), parallel_iterations=1)
    return [tf.ensure_shape(array.concat(), (None, width)) for array, width in zip(arrays, widths, strict=True)]
