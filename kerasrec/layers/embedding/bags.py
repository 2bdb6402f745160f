"""Ids of any form as `Bags`, and the vectors of bags combined.

All in `keras.ops`, but for ragged tensors and what removes padding, which are TensorFlow's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from kerasrec.tables.bags import Bags
from kerasrec.tables.config import FeatureConfig
from kerasrec.tables.row_io import row_dtype
from kerasrec.typing import Tensor


def bags_of(ids: Tensor, weights: Tensor | None = None) -> Bags:
    """Return a feature's ids as bags.

    Args:
        ids: integers, (batch,) or (batch, 1), one id per bag; (batch, hotness), padded with 0; or a
            `tf.RaggedTensor` (batch, None).
        weights: of the ids' shape.
    """
    if is_ragged(ids):
        return Bags(
            _index(ids.values), ops.cast(ids.row_splits, "int64"), None if weights is None else weights.values
        )
    flat = _index(ops.reshape(ids, (-1,)))
    weights = None if weights is None else ops.reshape(weights, (-1,))
    if len(ids.shape) == 1 or ids.shape[1] == 1:
        return Bags(flat, weights=weights)
    return Bags(flat, weights=weights, hotness=ops.shape(ids)[1], padded=True)


def is_ragged(value: Any) -> bool:
    """Return whether a tensor, or a symbolic one, is ragged."""
    return hasattr(value, "row_splits")


def is_padded(ids: Tensor) -> bool:
    """Return whether ids are lists that are padded with 0, which is then no id."""
    return not is_ragged(ids) and len(ids.shape) == 2 and ids.shape[1] != 1


def laid_out(vectors: Tensor, ids: Tensor) -> Tensor:
    """Return the vectors (n, dim) of ids as the ids are laid out: (batch, hotness, dim), or ragged."""
    if is_ragged(ids):
        return ids.with_values(vectors)
    return vectors if len(ids.shape) == 1 else ops.reshape(vectors, (*ops.shape(ids), vectors.shape[-1]))


def bag_count(bags: Bags) -> Any:
    """Return the number of bags, an integer where it is known while a graph is traced."""
    if bags.row_splits is not None:
        return ops.shape(bags.row_splits)[0] - 1
    return ops.shape(bags.ids)[0] // bags.hotness


def zero_vectors(features: Mapping[str, FeatureConfig], bags: Mapping[str, Bags], dtype: str) -> dict[str, Tensor]:
    """Return zeros in the shape of what each feature's bags look up, (bags, embedding_dim); (n, embedding_dim)
    without a combiner."""

    def count(name: str) -> Any:
        return ops.shape(bags[name].ids)[0] if features[name].table.combiner is None else bag_count(bags[name])

    return {name: ops.zeros((count(name), features[name].table.embedding_dim), dtype) for name in features}


def without_padding(bags: Bags) -> Bags:
    """Return padded bags without their padding, so that an optimizer touches no row for it. TensorFlow only."""
    import tensorflow as tf

    if not bags.padded:
        return bags
    present = bags.ids != 0
    lengths = tf.math.count_nonzero(tf.reshape(present, (-1, bags.hotness)), axis=1)
    weights = None if bags.weights is None else tf.boolean_mask(bags.weights, present)
    return Bags(tf.boolean_mask(bags.ids, present), tf.concat([[0], tf.cumsum(lengths)], 0), weights)


def with_padding(vectors: Tensor, bags: Bags) -> Tensor:
    """Return the vectors (n, dim) of all ids of padded bags, zeros for padding, given those of the others."""
    import tensorflow as tf

    shape = tf.stack([tf.size(bags.ids, tf.int64), vectors.shape[-1]])
    return tf.ensure_shape(
        tf.scatter_nd(tf.where(bags.ids != 0), vectors, shape), (*bags.ids.shape, vectors.shape[-1])
    )


def combine(vectors: Tensor, bags: Bags, combiner: str | None) -> Tensor:
    """Return the combined vectors of bags.

    Each is a sum of vectors times factors: weights w become `w`, `w / sum(w)` for "mean", and
    `w / sqrt(sum(w^2))` for "sqrtn"; 0 where that divides by 0.

    Args:
        vectors: (n, dim), those of `bags.ids`.
        bags: the ids.
        combiner: "sum", "mean", "sqrtn", or None, which keeps vectors apart.

    Returns:
        (bags, dim); without a combiner (n, dim), with zeros for padding.
    """
    each = factors(bags, combiner, row_dtype(keras.backend.standardize_dtype(vectors.dtype)))
    if combiner is not None and bags.padded:
        lists = ops.reshape(vectors, (-1, bags.hotness, vectors.shape[-1]))
        return ops.squeeze(ops.matmul(ops.reshape(each, (-1, 1, bags.hotness)), lists), 1)
    if each is not None:
        vectors = vectors * ops.expand_dims(each, -1)
    return vectors if combiner is None or bags.row_splits is None else _bag_sums(vectors, bags)


def divided(sums: Tensor, bags: Bags, combiner: str | None) -> Tensor:
    """Return the combined vectors of bags without weights, given the sums of their vectors. TensorFlow only."""
    import tensorflow as tf

    if combiner not in ("mean", "sqrtn"):
        return sums
    lengths = tf.cast(bags.lengths, sums.dtype)[:, None]
    return tf.math.divide_no_nan(sums, lengths if combiner == "mean" else tf.sqrt(lengths))


def factors(bags: Bags, combiner: str | None, dtype: str = "float32") -> Tensor | None:
    """Return each id's factor in the sum of its bag, as in `combine`, (n,); None where all are 1.

    They are of `dtype`, or where there are weights of theirs, in float32 at least.
    """
    weights = bags.weights
    if weights is None:
        if not bags.padded and (bags.row_splits is None or combiner in (None, "sum")):
            return None
        weights = ops.ones_like(bags.ids, dtype=dtype)
    weights = ops.cast(weights, row_dtype(keras.backend.standardize_dtype(weights.dtype)))
    if bags.padded:
        weights = weights * ops.cast(bags.ids != 0, weights.dtype)
    if combiner == "mean":
        return ops.divide_no_nan(weights, _bag_totals(weights, bags))
    if combiner == "sqrtn":
        squares = _bag_totals(weights * weights, bags)
        # The inner choice keeps the root's infinite slope at 0 out of the gradient.
        return ops.where(squares > 0, weights / ops.sqrt(ops.where(squares > 0, squares, 1.0)), 0.0)
    return weights


def _bag_totals(values: Tensor, bags: Bags) -> Tensor:
    """Return for each id the sum of the values (n,) in its bag."""
    if bags.row_splits is not None:
        import tensorflow as tf

        return tf.gather(_bag_sums(values, bags), _bag_numbers(bags))
    if bags.one_per_bag:
        return values
    lists = ops.reshape(values, (-1, bags.hotness))
    return ops.reshape(ops.sum(lists, axis=1, keepdims=True) + ops.zeros_like(lists), (-1,))


def _bag_sums(values: Tensor, bags: Bags) -> Tensor:
    import tensorflow as tf

    return tf.math.unsorted_segment_sum(values, _bag_numbers(bags), tf.size(bags.row_splits) - 1)


def _bag_numbers(bags: Bags) -> Tensor:
    import tensorflow as tf

    return tf.repeat(tf.range(tf.size(bags.row_splits) - 1), bags.lengths)


def _index(ids: Tensor) -> Tensor:
    """Return ids as int32 or int64."""
    dtype = keras.backend.standardize_dtype(ids.dtype)
    if dtype in ("int32", "int64"):
        return ids
    return ops.cast(ids, "int64" if "32" in dtype or "64" in dtype else "int32")
