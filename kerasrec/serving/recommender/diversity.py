"""Maximal marginal relevance: an order that takes scores and the differences between items into account."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def diversified(
    scores: tf.Tensor, vectors: tf.Tensor, k: tf.Tensor, diversity: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return scores and places of k candidates in the order in which maximal marginal relevance chooses them.

    Each step chooses, among those that are left, the candidate i with the greatest

        (1 - diversity) * relevance_i - diversity * max_{j chosen} cosine(vector_i, vector_j)

    where a relevance is the score, scaled so that a query's candidates have values from 0 to 1 (1 if all are
    equal). Of equal ones it is the first.

    From Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
    Summaries" (SIGIR 1998), https://doi.org/10.1145/290941.291025, where lambda is 1 - diversity.

    Args:
        scores: (n, m); -inf where there is no candidate.
        vectors: (n, m, dim), of length 1 or 0.
        k: how many, at most m.
        diversity: from 0, which orders by scores, to 1.

    Returns:
        (n, k) scores, -inf where there are no more candidates, and (n, k) places among the m.
    """
    there = scores > -np.inf
    low = tf.reduce_min(tf.where(there, scores, np.inf), axis=1, keepdims=True)
    high = tf.reduce_max(scores, axis=1, keepdims=True)
    scaled = tf.where(high > low, (scores - low) / (high - low), tf.ones_like(scores))
    relevance = tf.where(there, (1.0 - diversity) * scaled, -np.inf)
    rows, count = tf.shape(scores)[0], tf.shape(scores)[1]

    def step(i: tf.Tensor, left: tf.Tensor, nearest: tf.Tensor, chosen: tf.TensorArray) -> tuple[tf.Tensor, ...]:
        best = tf.argmax(left - diversity * nearest, axis=1, output_type=tf.int32)
        vector = tf.gather(vectors, best, batch_dims=1)
        nearest = tf.maximum(nearest, tf.linalg.matvec(vectors, vector))
        left = tf.where(tf.one_hot(best, count, True, False), -np.inf, left)
        return i + 1, left, nearest, chosen.write(i, best)

    places = tf.TensorArray(tf.int32, size=k, element_shape=[None])
    *_, places = tf.while_loop(
        lambda i, *_: i < k, step, [tf.constant(0), relevance, -tf.ones_like(scores), places]
    )
    order = tf.reshape(tf.transpose(places.stack()), [rows, k])
    # A step with no candidate left repeats one that was chosen, or is not there.
    found = tf.range(k)[tf.newaxis] < tf.reduce_sum(tf.cast(there, tf.int32), axis=1, keepdims=True)
    return tf.where(found, tf.gather(scores, order, batch_dims=1), -np.inf), order
