"""FullSoftmax: the cross-entropy of a query's item among all items."""

from __future__ import annotations

import keras
from keras import ops

from kerasrec.losses.item_vectors import CandidateLoss, ItemVectors
from kerasrec.losses.known_gradients import with_gradients
from kerasrec.typing import Tensor

BLOCK = 2**21  # scores that are computed at once: 8 MB, which stay in the processor's cache
LEAST_ROWS = 64  # of a block; where fewer rows of scores fit, it is of some items, too
MOST_SCORES = 2**26  # at once on JAX and PyTorch: 256 MB


@keras.saving.register_keras_serializable("kerasrec")
class FullSoftmax(CandidateLoss):
    """Computes the cross-entropy of each query's item among all items.

    With the query's vector `q`, items' vectors `e_j` and its own item `i`: `log sum_j exp(q . e_j) - q . e_i`. Ids
    below the items' first id (padding, nulls, values out of vocabulary) are not in the sum.

    Loss and gradients are computed together, block by block, so that the scores of one block are in memory at a
    time, on TensorFlow in the cache of a CPU. With more than some 30,000 items its blocks are of some queries and
    some items; on JAX and PyTorch there are blocks where all scores would take more than 256 MB.
    Every item has a gradient in every step.

    Example:

    >>> model.compile(optimizer=kr.optimizers.Adam(1e-3), loss=kr.losses.FullSoftmax())
    """

    def per_example(
        self, queries: Tensor, positives: Tensor, items: ItemVectors, seed: keras.random.SeedGenerator
    ) -> Tensor:
        queries, matrix, positives = _inputs(queries, positives, items)
        scores = ops.matmul(queries, ops.transpose(matrix))
        own = ops.take_along_axis(scores, ops.expand_dims(positives, 1), axis=1)
        return ops.logsumexp(scores, axis=1) - ops.squeeze(own, 1)

    def weighted_sum(
        self,
        queries: Tensor,
        positives: Tensor,
        items: ItemVectors,
        seed: keras.random.SeedGenerator,
        weights: Tensor | None = None,
    ) -> Tensor:
        count, on_tensorflow = items.count - items.first_id, keras.backend.backend() == "tensorflow"
        if not on_tensorflow and queries.shape[0] * count <= MOST_SCORES:
            return super().weighted_sum(queries, positives, items, seed, weights)
        queries, matrix, positives = _inputs(queries, positives, items)
        weights = ops.ones_like(positives, "float32") if weights is None else ops.cast(weights, "float32")
        constants = (ops.stop_gradient(queries), ops.stop_gradient(matrix), positives, weights)
        if not on_tensorflow:
            total, *gradients = _mapped(*constants, most=MOST_SCORES)
        elif count * LEAST_ROWS <= BLOCK:
            total, *gradients = _sums_and_gradients(*constants)
        else:
            from kerasrec.losses.tiled_softmax import sums_and_gradients  # it imports TensorFlow

            total, *gradients = sums_and_gradients(*constants)
        return with_gradients(total, [queries, matrix], gradients)


def _inputs(queries: Tensor, positives: Tensor, items: ItemVectors) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries and items in float32, and the items' rows, without those below the first id."""
    matrix = ops.cast(items.all(), "float32")[items.first_id :]
    positives = ops.maximum(ops.cast(positives, "int32") - items.first_id, 0)
    return ops.cast(queries, "float32"), matrix, positives


def _mapped(
    queries: Tensor, matrix: Tensor, positives: Tensor, weights: Tensor, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what `_sums_and_gradients` does, on any backend: of blocks of queries, and of blocks of items."""

    def of_queries(block: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        q, row, weight = block
        scores, own, weight = ops.matmul(q, ops.transpose(matrix)), ops.take(matrix, row, axis=0), weight[:, None]
        normalisers = ops.logsumexp(scores, axis=1, keepdims=True)
        losses = normalisers - ops.sum(q * own, axis=1, keepdims=True)
        of_q = weight * (ops.matmul(ops.exp(scores - normalisers), matrix) - own)
        return ops.where(weight != 0, losses * weight, ops.zeros_like(losses)), of_q, normalisers

    rows = max(most // matrix.shape[0], 1)
    found = ops.map(of_queries, tuple(_in_blocks(x, rows) for x in (queries, positives, weights)))
    losses, by_query, normalisers = (ops.reshape(x, (-1, x.shape[-1]))[: queries.shape[0]] for x in found)

    def of_items(e: Tensor) -> Tensor:
        shares = ops.exp(ops.matmul(e, ops.transpose(queries)) - ops.transpose(normalisers))
        return ops.matmul(shares, queries * weights[:, None])

    by_item = ops.map(of_items, _in_blocks(matrix, max(most // queries.shape[0], 1)))
    own = ops.segment_sum(queries * weights[:, None], positives, num_segments=matrix.shape[0])
    return ops.sum(losses), by_query, ops.reshape(by_item, (-1, matrix.shape[1]))[: matrix.shape[0]] - own


def _in_blocks(x: Tensor, rows: int) -> Tensor:
    """Return a tensor as blocks of rows, `(blocks, rows, ...)`, the last one padded with zeros."""
    blocks = -(-x.shape[0] // rows)
    padding = [[0, blocks * rows - x.shape[0]]] + [[0, 0]] * (len(x.shape) - 1)
    return ops.reshape(ops.pad(x, padding), (blocks, rows, *x.shape[1:]))


def _sums_and_gradients(
    queries: Tensor, matrix: Tensor, positives: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weighted sum of losses and its gradients by queries and items, while scores are in the cache."""
    import tensorflow as tf

    dim = queries.shape[-1]
    examples, count = tf.shape(queries)[0], tf.shape(matrix)[0]
    rows = tf.maximum(BLOCK // tf.maximum(count, 1), LEAST_ROWS)
    blocks = tf.maximum(-(-examples // rows), 1)

    def add_block(k: Tensor, total: Tensor, of_queries: Tensor, of_matrix: Tensor) -> tuple[Tensor, ...]:
        here = slice(k * rows, (k + 1) * rows)
        q, own, weight = queries[here], tf.gather(matrix, positives[here]), weights[here][:, None]
        scores = tf.matmul(q, matrix, transpose_b=True)
        largest = tf.reduce_max(scores, axis=1, keepdims=True)
        exponentials = tf.exp(scores - largest)
        sums = tf.reduce_sum(exponentials, axis=1, keepdims=True)
        losses = tf.math.log(sums) + largest - tf.reduce_sum(q * own, axis=1, keepdims=True)
        # Probabilities are exponentials / sums, but (rows, dim) is divided instead of (rows, count).
        of_q = weight * (tf.matmul(exponentials, matrix) / sums - own)
        of_matrix += tf.matmul(exponentials, q * (weight / sums), transpose_a=True)
        return k + 1, total + tf.reduce_sum(weight * losses), of_queries.write(k, of_q), of_matrix

    gradients = tf.TensorArray(tf.float32, blocks, infer_shape=False, element_shape=(None, dim))
    start = (0, tf.zeros(()), gradients, tf.zeros_like(matrix))
    _, total, gradients, of_matrix = tf.while_loop(
        lambda k, *_: k < blocks, add_block, start, parallel_iterations=1
    )
    own = tf.math.unsorted_segment_sum(queries * weights[:, None], positives, count)
    return total, tf.ensure_shape(gradients.concat(), (None, dim)), of_matrix - own
