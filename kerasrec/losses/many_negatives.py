"""Losses that compare a query's item with many others, drawn for it or for the batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import keras
from keras import ops

from kerasrec.losses.item_vectors import ItemVectors
from kerasrec.losses.known_gradients import with_gradients
from kerasrec.losses.popularity import PopularitySampler
from kerasrec.losses.sampled import SampledLoss
from kerasrec.typing import Tensor

BLOCK = 2**21  # scores that are computed at once: 8 MB
# Of as many items per negative a product of all with all is faster than a gather of those that were drawn.
FEW_ITEMS = 64

Compare: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]


class ManyNegatives(SampledLoss):
    """The base of losses with hundreds of negatives per example.

    Args:
        negatives: how many items are drawn. One that is an example's own does not count for it.
        shared: True draws them once per batch, for all of its examples, and an integer once per so many
            consecutive examples. That costs far less of memory and time; draw more of them per batch, then.
        sampler: draws by popularity; None draws uniformly.

    Raises:
        ValueError: `shared` is an integer below 2.
    """

    def __init__(self, negatives: int = 256, shared: bool | int = False, sampler: PopularitySampler | None = None):
        super().__init__(negatives, sampler)
        if not isinstance(shared, bool) and (int(shared) != shared or shared < 2):
            raise ValueError(f"shared must be True, False, or an integer >= 2; got {shared!r}")
        self.shared = shared if isinstance(shared, bool) else int(shared)

    def among(self, count: int) -> Compare:
        """Return what compares scores where negatives are drawn from `count` items."""
        return self.compare

    def per_example(
        self, queries: Tensor, positives: Tensor, items: ItemVectors, seed: keras.random.SeedGenerator
    ) -> Tensor:
        queries, positives = ops.cast(queries, "float32"), ops.cast(positives, "int32")
        compare = self.among(items.count - items.first_id)
        if self.shared:
            return compare(*self._shared_scores(queries, positives, items, seed))
        return compare(*self.scores(queries, positives, items, seed))

    def _shared_scores(
        self, queries: Tensor, positives: Tensor, items: ItemVectors, seed: keras.random.SeedGenerator
    ) -> tuple[Tensor, Tensor, Tensor]:
        examples = ops.shape(queries)[0]
        if self.shared is True:
            grouped, own_ids = queries[None], positives[None]
        else:
            grouped, own_ids = _in_groups(queries, self.shared), _in_groups(positives, self.shared)
        ids = self.draw_ids((ops.shape(grouped)[0], self.negatives), items.first_id, items.count, seed)
        drawn = ops.size(ids)
        vectors = ops.cast(items.lookup(ops.concatenate([ops.reshape(ids, (-1,)), positives])), "float32")
        others = ops.reshape(vectors[:drawn], (-1, self.negatives, vectors.shape[-1]))
        ids = ids[:, None]  # of (groups, examples, negatives)
        scores = self.adjust(ops.matmul(grouped, ops.swapaxes(others, 1, 2)), ids, items.first_id)
        return (
            ops.sum(queries * vectors[drawn:], axis=1),
            ops.reshape(scores, (-1, self.negatives))[:examples],
            ops.reshape(ids != own_ids[..., None], (-1, self.negatives))[:examples],
        )

    def weighted_sum(
        self,
        queries: Tensor,
        positives: Tensor,
        items: ItemVectors,
        seed: keras.random.SeedGenerator,
        weights: Tensor | None = None,
    ) -> Tensor:
        few = items.count <= FEW_ITEMS * self.negatives
        if keras.backend.backend() != "tensorflow" or self.shared or not few:
            return super().weighted_sum(queries, positives, items, seed, weights)
        queries, positives = ops.cast(queries, "float32"), ops.cast(positives, "int32")
        weights = ops.ones_like(positives, "float32") if weights is None else ops.cast(weights, "float32")
        drawn = partial(self.draw, first_id=items.first_id, count=items.count, seed=seed)
        among = self.among(items.count - items.first_id)

        def compare(own: Tensor, scores: Tensor, ids: Tensor, counts: Tensor) -> Tensor:
            return among(own, self.adjust(scores, ids, items.first_id), counts)

        return _blockwise(compare, drawn, queries, ops.cast(items.all(), "float32"), positives, weights)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shared": self.shared}


def _in_groups(x: Tensor, size: int) -> Tensor:
    """Return rows in groups of consecutive ones, `(groups, size, ...)`, the last one filled with zeros."""
    rows = ops.shape(x)[0]
    filling = ops.zeros((-rows % size, *x.shape[1:]), x.dtype)
    return ops.reshape(ops.concatenate([x, filling]), (-1, size, *x.shape[1:]))


def _blockwise(
    compare: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    draw: Callable[[Tensor], Tensor],
    queries: Tensor,
    matrix: Tensor,
    positives: Tensor,
    weights: Tensor,
) -> Tensor:
    """Return the weighted sum of losses, computed with its gradients block by block of queries.

    Scores of all items are computed, and those of the items that were drawn are taken from them.
    """
    import tensorflow as tf

    q_all, items, count, dim = (
        tf.stop_gradient(queries),
        tf.stop_gradient(matrix),
        tf.shape(matrix)[0],
        matrix.shape[1],
    )
    rows = tf.maximum(BLOCK // count, 64)
    examples = tf.shape(queries)[0]
    blocks = tf.maximum(-(-examples // rows), 1)

    def add_block(k: Tensor, total: Tensor, of_queries: Tensor, of_items: Tensor) -> tuple[Tensor, ...]:
        here = slice(k * rows, (k + 1) * rows)
        q, own = q_all[here], positives[here][:, None]
        ids = tf.concat([own, draw(positives[here])], 1)
        drawn = tf.gather(tf.matmul(q, items, transpose_b=True), ids, batch_dims=1)
        with tf.GradientTape() as tape:
            tape.watch(drawn)
            losses = compare(drawn[:, 0], drawn[:, 1:], ids[:, 1:], ids[:, 1:] != own)
            value = tf.reduce_sum(tf.where(weights[here] != 0, weights[here] * losses, 0.0))
        of_scores = _scattered(tape.gradient(value, drawn), ids, count)
        of_items += tf.matmul(of_scores, q, transpose_a=True)
        return k + 1, total + value, of_queries.write(k, tf.matmul(of_scores, items)), of_items

    gradients = tf.TensorArray(tf.float32, blocks, infer_shape=False, element_shape=(None, dim))
    start = (0, tf.zeros(()), gradients, tf.zeros_like(items))
    _, total, gradients, of_items = tf.while_loop(
        lambda k, *_: k < blocks, add_block, start, parallel_iterations=1
    )
    of_queries = tf.ensure_shape(gradients.concat(), (None, dim))
    return with_gradients(total, [queries, matrix], [of_queries, of_items])


def _scattered(values: Tensor, ids: Tensor, count: Tensor) -> Tensor:
    """Return zeros `(rows, count)` to which values `(rows, n)` are added in the columns `ids`."""
    import tensorflow as tf

    rows = tf.shape(ids)[0]
    places = tf.range(rows)[:, None] * count + ids
    flat = tf.math.unsorted_segment_sum(tf.reshape(values, (-1,)), tf.reshape(places, (-1,)), rows * count)
    return tf.reshape(flat, (rows, count))
