"""One gather for all features of a stack of tables, then each list's vectors combined.

The gather and the ragged forms need TensorFlow's own operations; everything else is `keras.ops`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from kerasrec import kernels
from kerasrec.parallel.plan import Stack
from kerasrec.parallel.tables import FeatureConfig, TableConfig


def lookup(
    variable: keras.Variable,
    stack: Stack,
    features: Mapping[str, FeatureConfig],
    ids: Mapping[str, Any],
    dtype: str,
) -> dict[str, Any]:
    """The combined vectors of each feature.

    Args:
        variable: the stack's rows, (stack.rows, embedding_dim).
        stack: which tables lie where in it.
        features: the features that look up these tables.
        ids: for each feature (batch,), (batch, hotness) or ragged (batch, None).
        dtype: of the vectors.
    """
    flat = {name: _flat(value) for name, value in ids.items()}
    if stack.rows > 2**31 - 1 or len({keras.backend.standardize_dtype(row.dtype) for row in flat.values()}) > 1:
        flat = {name: ops.cast(value, "int64") for name, value in flat.items()}
    if keras.backend.backend() == "tensorflow":
        flat = _checked(features, flat)
    rows = [_rows(flat[name], stack, config.table) for name, config in features.items()]
    # Lists are summed in float32; single vectors may be handed over in the narrower type at once.
    single = all(_is_single(ids[name], config.table.combiner) for name, config in features.items())
    vectors = _gather(
        variable, rows[0] if len(rows) == 1 else ops.concatenate(rows), dtype if single else variable.dtype
    )
    parts = [vectors] if len(rows) == 1 else _split(vectors, rows)
    return {
        name: _cast(_combine(part, ids[name], config.table.combiner), dtype)
        for (name, config), part in zip(features.items(), parts, strict=True)
    }


def _cast(value: Any, dtype: str) -> Any:
    """`ops.cast`, for ragged tensors too."""
    return (
        value.with_flat_values(ops.cast(value.flat_values, dtype)) if _is_ragged(value) else ops.cast(value, dtype)
    )


def _is_ragged(value: Any) -> bool:
    return hasattr(value, "row_splits")


def _is_single(ids: Any, combiner: str | None) -> bool:
    """Whether a feature has one id a row, whose vector is the answer as it is."""
    return not _is_ragged(ids) and (len(ids.shape) == 1 or (ids.shape[1] == 1 and combiner is not None))


def _flat(ids: Any) -> Any:
    """All ids of a feature, row after row, as int32 or int64."""
    flat = ids.values if _is_ragged(ids) else ops.reshape(ids, (-1,))
    dtype = keras.backend.standardize_dtype(flat.dtype)
    return (
        flat
        if dtype in ("int32", "int64")
        else ops.cast(flat, "int64" if "32" in dtype or "64" in dtype else "int32")
    )


def _rows(ids: Any, stack: Stack, table: TableConfig) -> Any:
    """Where a table's ids lie in its stack."""
    rows = ids + ops.cast(stack.offsets[table.name], ids.dtype)
    if keras.backend.backend() == "tensorflow":
        return rows  # `_checked` has refused stray ids
    # A compiled JAX program cannot raise: a stray id leaves the stack, so that it reads no other table.
    inside = ops.logical_and(ids >= 0, ids < table.vocabulary_size)
    return ops.where(inside, rows, ops.cast(stack.rows, ids.dtype))


def _gather(variable: keras.Variable, rows: Any, dtype: str) -> Any:
    if keras.backend.backend() != "tensorflow":
        return ops.cast(ops.take(variable, rows, axis=0), dtype)
    import tensorflow as tf

    # Each distinct row is read once, from the tf.Variable itself: its gradient is then an IndexedSlices of
    # distinct rows, and nothing of the table's size is made.
    distinct, position = tf.unique(rows)
    vectors = tf.gather(variable.value, distinct)

    @tf.custom_gradient
    def spread(vectors: Any) -> Any:
        def gradient(upstream: Any) -> Any:
            return kernels.sum_rows(upstream, position, vectors)

        return tf.gather(tf.cast(vectors, dtype), position), gradient

    return spread(vectors)


def _split(vectors: Any, rows: list[Any]) -> list[Any]:
    sizes = [row.shape[0] for row in rows]
    if None in sizes:
        import tensorflow as tf

        return tf.split(vectors, [tf.shape(row)[0] for row in rows], num=len(rows))
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    return ops.split(vectors, ends)


def _combine(vectors: Any, ids: Any, combiner: str | None) -> Any:
    """(n, dim) vectors of all ids, row after row -> (batch, dim), or apart where there is no combiner."""
    if _is_ragged(ids):
        return _combine_ragged(vectors, ids, combiner)
    if _is_single(ids, combiner):
        return vectors
    hotness, width = ids.shape[1], vectors.shape[-1]
    vectors = ops.reshape(vectors, (-1, hotness, width))
    if hotness == 1:
        return vectors
    mask = ops.cast(ids != 0, vectors.dtype)
    if combiner is None:
        return vectors * ops.expand_dims(mask, -1)
    total = ops.squeeze(ops.matmul(ops.expand_dims(mask, 1), vectors), 1)
    return _divide(total, ops.sum(mask, axis=1, keepdims=True), combiner)


def _combine_ragged(vectors: Any, ids: Any, combiner: str | None) -> Any:
    import tensorflow as tf

    if combiner is None:
        return ids.with_values(vectors)
    total = tf.math.unsorted_segment_sum(vectors, ids.value_rowids(), ids.nrows())
    return _divide(total, tf.cast(ids.row_lengths(), vectors.dtype)[:, tf.newaxis], combiner)


def _divide(total: Any, count: Any, combiner: str) -> Any:
    if combiner == "sum":
        return total
    count = ops.maximum(count, 1)
    return total / (count if combiner == "mean" else ops.sqrt(count))


def _checked(features: Mapping[str, FeatureConfig], flat: Mapping[str, Any]) -> dict[str, Any]:
    """The ids, once each is known to be inside its own table: in a stack a stray id would read another table."""
    import tensorflow as tf

    def is_stray(name: str, ids: Any) -> Any:
        return (ids < 0) | (
            ids >= tf.constant(min(features[name].table.vocabulary_size, ids.dtype.max), ids.dtype)
        )

    def complaint(name: str, ids: Any) -> Any:
        table = features[name].table
        known = f"feature {name!r}: id {{}} is outside [0, {table.vocabulary_size}) of table {table.name!r}"
        return tf.strings.format(known, tf.boolean_mask(ids, is_stray(name, ids))[:1])

    bad = tf.stack([tf.reduce_any(is_stray(name, ids)) for name, ids in flat.items()])

    def fail() -> Any:
        complaints = tf.stack([complaint(name, ids) for name, ids in flat.items()])
        with tf.control_dependencies([tf.debugging.Assert(False, [tf.boolean_mask(complaints, bad)[0]])]):
            return tf.constant(False)

    with tf.control_dependencies([tf.cond(tf.reduce_any(bad), fail, lambda: tf.constant(True))]):
        return {name: tf.identity(ids) for name, ids in flat.items()}
