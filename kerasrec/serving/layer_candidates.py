"""`LayerCandidates`: candidates of a served index that a layer of TensorFlow Recommenders searches."""

from __future__ import annotations

import numpy as np
import polars as pl
import tensorflow as tf

from kerasrec.retrieval.engines.tfrs_layer import TFRS
from kerasrec.retrieval.scores import Similarity
from kerasrec.serving.candidates import Candidates


class LayerCandidates(Candidates):
    """Candidates that a layer of TensorFlow Recommenders searches, within the graph.

    To leave candidates out, as many more are searched for. "brute_force" has the vectors in weights of its own, so
    its candidates do not change; those of "streaming" do.

    Args:
        engine: the kind of layer; others are as in `Candidates`.
    """

    def __init__(self, ids: pl.Series, dtype: str, vectors: np.ndarray, similarity: Similarity, engine: TFRS):
        super().__init__(ids, dtype, vectors, similarity)
        self._search = engine.graph_search(self.factors)

    def best(
        self, queries: tf.Tensor, factors: tf.Tensor, k: tf.Tensor, left_out: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        count, rows = tf.shape(factors, tf.int64)[0], tf.shape(queries, tf.int64)[0]
        query, row = left_out[:, 0], left_out[:, 1]
        excluded = tf.math.unsorted_segment_sum(tf.ones_like(query), query, rows)
        most = tf.reduce_max(tf.concat([[0], tf.cast(excluded, tf.int32)], axis=0))
        scores, found = self._search(queries, tf.minimum(k + most, tf.cast(count, tf.int32)))
        # A pair of a query and a row as one number: which of those found are left out?
        keys = tf.sort(query * count + row)
        own = tf.range(rows)[:, tf.newaxis] * count + tf.cast(found, tf.int64)
        places = tf.searchsorted(keys, tf.reshape(own, [-1]))
        is_excluded = tf.gather(tf.concat([keys, [-1]], axis=0), tf.reshape(places, tf.shape(own))) == own
        scores, at = tf.math.top_k(tf.where(is_excluded, -np.inf, scores), k)
        return scores, tf.gather(found, at, batch_dims=1)
