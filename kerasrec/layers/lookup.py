"""One gather for all features of a stack of tables, then each list's vectors combined.

The gather and the ragged forms need TensorFlow's own operations; everything else is `keras.ops`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from kerasrec import kernels
from kerasrec.parallel.stacks import Stack
from kerasrec.parallel.tables import FeatureConfig


def lookup(
    variable: keras.Variable,
    stack: Stack,
    features: Mapping[str, FeatureConfig],
    ids: Mapping[str, Any],
    dtype: str,
    training: bool,
) -> dict[str, Any]:
    """The combined vectors of each feature.

    Args:
        variable: the stack's rows, (stack.rows, embedding_dim).
        stack: which tables lie where in it.
        features: the features that look up these tables.
        ids: for each feature (batch,), (batch, hotness) or ragged (batch, None).
        dtype: of the vectors.
        training: whether gradients will be asked for.
    """
    flat = {name: _flat(value) for name, value in ids.items()}
    if stack.rows > 2**31 - 1 or len({keras.backend.standardize_dtype(row.dtype) for row in flat.values()}) > 1:
        flat = {name: ops.cast(value, "int64") for name, value in flat.items()}
    single = all(_is_single(ids[name], config.table.combiner) for name, config in features.items())
    # Features of one id a row go through the few operations below side by side, (features, batch) at once.
    blocks = [list(features)] if single else [[name] for name in features]
    rows = [ops.reshape(block, (-1,)) for block in _rows(stack, features, flat, blocks)]
    # Lists are summed in float32; single vectors may be handed over in the narrower type at once.
    vectors = _gather(
        variable,
        rows[0] if len(rows) == 1 else ops.concatenate(rows),
        dtype if single else variable.dtype,
        training,
    )
    parts = _split(vectors, list(flat.values()))
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


def _rows(
    stack: Stack, features: Mapping[str, FeatureConfig], flat: Mapping[str, Any], blocks: list[list[str]]
) -> list[Any]:
    """Where ids lie in the stack, for each block of features a matrix (features, ids)."""
    rows, stray = [], []
    for names in blocks:
        ids = ops.stack([flat[name] for name in names])
        tables = [features[name].table for name in names]
        dtype = keras.backend.standardize_dtype(ids.dtype)
        sizes = ops.convert_to_tensor([[table.vocabulary_size] for table in tables], dtype)
        offsets = ops.convert_to_tensor([[stack.offsets[table.name]] for table in tables], dtype)
        stray.append(ops.logical_or(ids < 0, ids >= sizes))
        rows.append(ids + offsets)
    if keras.backend.backend() == "tensorflow":
        return _refuse(stray, features, flat, rows)
    # A compiled JAX program cannot raise: a stray id leaves the stack, so that it reads no other table.
    return [
        ops.where(is_stray, ops.cast(stack.rows, row.dtype), row)
        for is_stray, row in zip(stray, rows, strict=True)
    ]


def _refuse(
    stray: list[Any], features: Mapping[str, FeatureConfig], flat: Mapping[str, Any], rows: list[Any]
) -> list[Any]:
    """`rows`, once no id is known to be stray: in a stack it would read another table."""
    import tensorflow as tf

    def complaint(name: str, ids: Any) -> Any:
        table = features[name].table
        stray = (ids < 0) | (ids >= table.vocabulary_size)
        known = f"feature {name!r}: id {{}} is outside [0, {table.vocabulary_size}) of table {table.name!r}"
        return tf.strings.format(known, tf.boolean_mask(ids, stray)[:1])

    bad = tf.concat([tf.reduce_any(block, axis=1) for block in stray], 0)

    def fail() -> Any:
        complaints = tf.stack([complaint(name, ids) for name, ids in flat.items()])
        with tf.control_dependencies([tf.debugging.Assert(False, [tf.boolean_mask(complaints, bad)[0]])]):
            return tf.constant(False)

    with tf.control_dependencies([tf.cond(tf.reduce_any(bad), fail, lambda: tf.constant(True))]):
        return [tf.identity(row) for row in rows]


def _gather(variable: keras.Variable, rows: Any, dtype: str, training: bool) -> Any:
    if keras.backend.backend() != "tensorflow":
        return ops.cast(ops.take(variable, rows, axis=0), dtype)
    import tensorflow as tf

    # The tf.Variable itself is read: its gradient is an IndexedSlices of distinct rows and nothing of the table's
    # size is made. A SavedModel must know nothing of our kernels: they read only where gradients are asked for.
    if training and (vectors := kernels.read_rows(variable.value, rows, tf.as_dtype(dtype))) is not None:
        return vectors
    distinct, position = tf.unique(rows)
    return tf.gather(tf.cast(tf.gather(variable.value, distinct), dtype), position)


def _split(vectors: Any, flat: list[Any]) -> list[Any]:
    """The vectors of each feature."""
    if len(flat) == 1:
        return [vectors]
    sizes = [ids.shape[0] for ids in flat]
    if None in sizes:
        import tensorflow as tf

        return tf.split(vectors, [tf.shape(ids)[0] for ids in flat], num=len(flat))
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
