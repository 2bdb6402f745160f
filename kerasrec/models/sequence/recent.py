"""The most recent behaviours of a batch as padded ids."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops

from kerasrec.layers.embedding.bags import is_ragged
from kerasrec.typing import Tensor


def padded_ids(ids: Tensor) -> Tensor:
    """Return the ids of a list column as `(batch, length)`, padded with 0 to at least two places.

    `(batch, 1)` would be one id per row, not a list.
    """
    if is_ragged(ids):
        import tensorflow as tf

        rows, length = ids.bounding_shape(axis=0), ids.bounding_shape(axis=1)
        return ids.to_tensor(shape=tf.stack([rows, tf.maximum(length, 2)]))
    missing = max(2 - ids.shape[1], 0) if isinstance(ids.shape[1], int) else 0
    return ops.pad(ids, [[0, 0], [0, missing]]) if missing else ids


def recent_ids(columns: Sequence[str], lists: Sequence[Tensor], max_length: int | None) -> list[Tensor]:
    """Return the last `max_length` behaviours of each row, in their order, padded with 0 at the beginning.

    Args:
        columns: the names of list columns whose k-th elements describe the same behaviour.
        lists: their ids, ragged or padded with 0 at either end; 0 is no behaviour.
        max_length: None keeps all.

    Returns:
        For each column `(batch, length)`, at least two places wide.

    Raises:
        ValueError: padded lists of different widths.
        tf.errors.InvalidArgumentError: (TensorFlow) ragged lists of different lengths.
    """
    if len(lists) > 1:
        lists = _of_equal_lengths(columns, lists)
    lists = [padded_ids(ids) for ids in lists]
    present = ops.not_equal(lists[0], 0)
    for ids in lists[1:]:
        present = ops.logical_or(present, ops.not_equal(ids, 0))
    places = ops.cumsum(ops.ones_like(lists[0]), axis=1) * ops.cast(present, lists[0].dtype)
    places = ops.sort(places, axis=1)
    if max_length is not None:
        places = places[:, -max_length:]
    index = ops.cast(ops.maximum(places - 1, 0), "int32")
    return [
        padded_ids(ops.where(places > 0, ops.take_along_axis(ids, index, axis=1), ops.zeros_like(places)))
        for ids in lists
    ]


def _of_equal_lengths(columns: Sequence[str], lists: Sequence[Tensor]) -> list[Tensor]:
    names = " and ".join(map(repr, columns))
    if all(map(is_ragged, lists)):
        import tensorflow as tf

        checks = [
            tf.debugging.assert_equal(
                lists[0].row_splits, ids.row_splits, f"aligned columns {names} differ in length within a row"
            )
            for ids in lists[1:]
        ]
        with tf.control_dependencies([check for check in checks if check is not None]):
            return [ids.with_values(tf.identity(ids.values)) for ids in lists]
    widths = {None if is_ragged(ids) else ids.shape[1] for ids in lists}
    if len(widths) > 1:
        shapes = ", ".join("ragged" if is_ragged(ids) else str(tuple(ids.shape)) for ids in lists)
        raise ValueError(f"aligned columns {names} must have lists of equal lengths; got {shapes}")
    dtype = keras.backend.standardize_dtype(lists[0].dtype)
    return [ops.cast(ids, dtype) for ids in lists]
