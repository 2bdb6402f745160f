"""`Candidates`: the candidates of a served index, in variables that its signatures search and change."""

from __future__ import annotations

import numpy as np
import polars as pl
import tensorflow as tf

from kerasrec.etl.lookup.tensor_column import table_key
from kerasrec.retrieval.scores import Similarity

BLOCK = 1 << 24  # scores at a time


class Candidates(tf.Module):
    """Vectors of candidates and their ids, in variables of any number of rows.

    Every similarity is a product of two longer vectors: `[q, 1] . [c, 0]` is the dot product, and so the cosine of
    vectors of length 1; `[2 q, 1] . [c, -|c|^2] - |q|^2` is minus the squared distance, around the mean of the
    candidates, where the terms cancel least. A removed candidate has -inf in the last column.

    A candidate keeps its row as long as the SavedModel is loaded, ids are written before vectors, and a search
    reads the vectors once: so searches may run while candidates are changed.

    Args:
        ids: raw ids, all different.
        dtype: of the ids, as in a schema.
        vectors: (m, dim).
        similarity: of a query's and a candidate's vector.
    """

    def __init__(self, ids: pl.Series, dtype: str, vectors: np.ndarray, similarity: Similarity):
        super().__init__(name="candidates")
        self.similarity, self.dim = similarity, vectors.shape[1]
        mean = vectors.mean(axis=0) if similarity == "l2" and len(vectors) else np.zeros(self.dim)
        self.origin = tf.constant(mean, tf.float32)
        factors = self._factors(tf.constant(vectors, tf.float32))
        self.factors = tf.Variable(factors, trainable=False, shape=[None, self.dim + 1], name="vectors")
        values = tf.constant(ids.to_list() if dtype == "string" else ids.to_numpy(), dtype)
        self.ids = tf.Variable(values, trainable=False, shape=[None], name="ids")
        keys = table_key(values)
        # Anonymous, as those of `Categorify`: it cannot clash with a table of another SavedModel.
        self.rows = tf.lookup.experimental.MutableHashTable(
            keys.dtype, tf.int64, -1, experimental_is_anonymous=True
        )
        self.rows.insert(keys, tf.range(len(ids), dtype=tf.int64))

    def _factors(self, vectors: tf.Tensor) -> tf.Tensor:
        """Return candidates' vectors as rows of `self.factors`."""
        if self.similarity == "l2":
            vectors -= self.origin
            return tf.concat([vectors, -tf.reduce_sum(vectors**2, axis=1, keepdims=True)], axis=1)
        return tf.concat([self._of_length_1(vectors), tf.zeros_like(vectors[:, :1])], axis=1)

    def _of_length_1(self, vectors: tf.Tensor) -> tf.Tensor:
        return tf.math.l2_normalize(vectors, axis=1) if self.similarity == "cosine" else vectors

    # ---- search ----------------------------------------------------------------------------------------------
    def search(
        self, queries: tf.Tensor, k: tf.Tensor, excluded: tf.Tensor, offsets: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return ids and scores of the k best candidates of each query, (batch, k), best first.

        Where there are fewer, ids are -1 or "", and scores -inf.

        Args:
            queries: (batch, dim).
            k: a scalar.
            excluded: ids to leave out, those of query i from `offsets[i]` to before `offsets[i + 1]`.
            offsets: (batch + 1,).
        """
        factors = self.factors.read_value()
        with tf.control_dependencies([factors]):
            ids = self.ids.read_value()
        count = tf.shape(factors)[0]
        queries, shift = self.query_factors(queries)
        left_out = self.left_out(excluded, offsets, count)
        scores, places = self.best(queries, factors, tf.minimum(k, count), left_out)
        more = [[0, 0], [0, tf.maximum(k - count, 0)]]
        scores = tf.pad(scores - shift, more, constant_values=-np.inf)
        return ids_at(ids, tf.pad(places, more), scores), scores

    def query_factors(self, queries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return queries as factors (batch, dim + 1), and what to subtract from their products, (batch, 1)."""
        queries = self._of_length_1(queries)
        shift = tf.zeros_like(queries[:, :1])
        if self.similarity == "l2":
            queries -= self.origin
            shift = tf.reduce_sum(queries**2, axis=1, keepdims=True)
            queries *= 2.0
        return tf.concat([queries, tf.ones_like(shift)], axis=1), shift

    def left_out(self, excluded: tf.Tensor, offsets: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """Return pairs of a query and the row of a candidate that is left out of it, (pairs, 2) int64.

        Args:
            excluded, offsets: as for `search`.
            count: of the candidates' rows.
        """
        at = self._rows_of(table_key(excluded))
        query = tf.repeat(tf.range(tf.size(offsets, tf.int64) - 1), offsets[1:] - offsets[:-1])
        return tf.boolean_mask(tf.stack([query, at], axis=1), (at >= 0) & (at < tf.cast(count, tf.int64)))

    def best(
        self, queries: tf.Tensor, factors: tf.Tensor, k: tf.Tensor, left_out: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return scores and rows of the k best factors of each query (n, k), for a block of queries at a time.

        Args:
            queries: (n, dim + 1).
            factors: (count, dim + 1).
            k: at most count.
            left_out: (pairs, 2) int64, of a query and a row.
        """
        return _best(queries, factors, k, left_out)

    def _rows_of(self, keys: tf.Tensor) -> tf.Tensor:
        """Return the row of each id's candidate, -1 for an unknown id."""
        return tf.ensure_shape(self.rows.lookup(keys), [None])  # a lookup forgets the rank

    # ---- changes ---------------------------------------------------------------------------------------------
    def update(self, ids: tf.Tensor, vectors: tf.Tensor) -> dict[str, tf.Tensor]:
        """Add candidates, or replace those whose ids are there; return how many."""
        keys = table_key(ids)
        once = tf.size(tf.unique(keys)[0]) == tf.size(keys)
        with tf.control_dependencies([tf.debugging.Assert(once, ["an id is in several rows of the update"])]):
            at = self._rows_of(keys)
        new = at < 0
        added = tf.reduce_sum(tf.cast(new, tf.int64))
        old_ids, old = self.ids.read_value(), self.factors.read_value()
        at = tf.where(new, tf.size(old_ids, tf.int64) + tf.cumsum(tf.cast(new, tf.int64)) - 1, at)
        room = tf.concat([old, tf.zeros([added, self.dim + 1])], axis=0)
        changed = tf.tensor_scatter_nd_update(room, at[:, tf.newaxis], self._factors(vectors))
        all_ids = tf.concat([old_ids, tf.boolean_mask(ids, new)], axis=0)
        with tf.control_dependencies([self.ids.assign(all_ids, read_value=False)]):
            vectors_written = self.factors.assign(changed, read_value=False)
        with tf.control_dependencies([vectors_written, self.rows.insert(keys, at)]):
            return {"added": tf.identity(added), "replaced": tf.size(keys, tf.int64) - added}

    def remove(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Remove candidates; return how many. It is an error if one is not there, and then none is removed."""
        keys = tf.unique(table_key(ids))[0]
        at = self._rows_of(keys)
        unknown = tf.boolean_mask(keys, at < 0)
        message = ["no candidate", unknown, "; nothing was removed"]
        with tf.control_dependencies([tf.debugging.Assert(tf.size(unknown) == 0, message, summarize=5)]):
            old = self.factors.read_value()
        removed = tf.concat([tf.zeros([self.dim]), [-np.inf]], axis=0)
        rows = tf.repeat(removed[tf.newaxis], tf.size(at), axis=0)
        changed = tf.tensor_scatter_nd_update(old, at[:, tf.newaxis], rows)
        with tf.control_dependencies([self.factors.assign(changed, read_value=False), self.rows.remove(keys)]):
            return {"removed": tf.size(keys, tf.int64)}


def ids_at(ids: tf.Tensor, places: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Return ids at places; where the score is -inf "", -1, or of unsigned integers the largest."""
    dtype = ids.dtype
    no_id = tf.constant("" if dtype == tf.string else dtype.max if dtype.is_unsigned else -1, dtype)
    return tf.where(scores > -np.inf, tf.gather(ids, places), no_id)


def scores_without(
    queries: tf.Tensor, factors: tf.Tensor, left_out: tf.Tensor, start: tf.Tensor, stop: tf.Tensor
) -> tf.Tensor:
    """Return products of the queries from `start` to before `stop` with all factors, -inf for pairs left out."""
    scores = tf.matmul(queries[start:stop], factors, transpose_b=True)
    first = tf.cast(tf.stack([start, 0]), tf.int64)
    here = (left_out[:, 0] >= first[0]) & (left_out[:, 0] < tf.cast(stop, tf.int64))
    at = tf.boolean_mask(left_out, here) - first
    return tf.tensor_scatter_nd_update(scores, at, tf.fill([tf.shape(at)[0]], -np.inf))


def _best(
    queries: tf.Tensor, factors: tf.Tensor, k: tf.Tensor, left_out: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return scores and rows of the k best factors of each query, for a block of queries at a time."""
    rows, count = tf.shape(queries)[0], tf.shape(factors)[0]
    size = tf.maximum(BLOCK // tf.maximum(count, 1), 1)
    blocks = tf.maximum((rows + size - 1) // size, 1)

    def step(i: tf.Tensor, scores: tf.TensorArray, places: tf.TensorArray) -> tuple[tf.Tensor, ...]:
        start, stop = i * size, tf.minimum((i + 1) * size, rows)
        best, where = tf.math.top_k(scores_without(queries, factors, left_out, start, stop), k)
        return i + 1, scores.write(i, best), places.write(i, where)

    arrays = [
        tf.TensorArray(dtype, size=blocks, infer_shape=False, element_shape=[None, None])
        for dtype in (tf.float32, tf.int32)
    ]
    _, scores, places = tf.while_loop(
        lambda i, *_: i < blocks, step, [tf.constant(0), *arrays], parallel_iterations=1
    )
    return scores.concat(), places.concat()
