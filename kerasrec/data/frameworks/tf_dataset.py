"""A loader's batches as a `tf.data.Dataset`, which Keras's TensorFlow trainer asks its data for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kerasrec.data.batches import BatchStream
from kerasrec.data.decode.layout import Ragged, max_hotness
from kerasrec.data.mapping import Inputs


class _Source(NamedTuple):
    """Arrays for `tf.data.Dataset.from_generator`, and what makes batches of its tensors."""

    arrays: Callable[[], Iterator[tuple[np.ndarray, ...]]]
    specs: list[tf.TensorSpec]
    assemble: Callable[..., Inputs]


def dataset_of(stream: BatchStream) -> tf.data.Dataset:
    """Return the dataset. One pass over it is one pass of the stream."""
    source = (_mapped if stream.functions else _in_blocks)(stream)
    dataset = tf.data.Dataset.from_generator(source.arrays, output_signature=tuple(source.specs))
    dataset = dataset.map(tf.autograph.experimental.do_not_convert(source.assemble))
    if not stream.progress.skipped:  # else the first pass is shorter than the others
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(stream)))
    # There is nothing to tune, and the end of a pass would wait for the tuner, which sleeps twice as long each
    # time, up to a minute.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(1).with_options(options)


def _in_blocks(stream: BatchStream) -> _Source:
    """Pass blocks of all columns of a dtype through Python, and let TensorFlow cut them into columns.

    Passing each column by itself would cost more than reading it, at batches of a few thousand rows.
    """
    layout = stream.layout
    # If it is the same for all batches of all ranks, then so are the ranks' graphs.
    size = stream.split.batch_size if stream.split.full else None
    blocks, lists, vectors = layout.blocks, layout.lists, layout.vectors
    specs = [tf.TensorSpec((len(names), size), dtype) for dtype, names in blocks.items()]
    specs += [tf.TensorSpec((size, column.width), column.dtype) for column in vectors.values()]
    for column in lists:
        if layout.pad:
            specs.append(tf.TensorSpec((size, max_hotness(column)), column.dtype))
        else:
            specs += _ragged_specs(column.dtype, size)

    def arrays() -> Iterator[tuple[np.ndarray, ...]]:
        for batch in stream.batches():
            flat = [batch.blocks[dtype] for dtype in blocks]
            flat += [batch.vectors[name] for name in vectors]
            for column in map(batch.lists.__getitem__, (column.name for column in lists)):
                flat += [column.values, column.offsets] if isinstance(column, Ragged) else [column]
            yield tuple(map(stream.engine.host, flat))

    def assemble(*flat: tf.Tensor) -> Inputs:
        parts = iter(flat)
        columns: dict[str, Any] = {}
        for names in blocks.values():
            columns.update(zip(names, tf.unstack(next(parts), num=len(names)), strict=True))
        for name in vectors:
            columns[name] = next(parts)
        for column in lists:
            columns[column.name] = next(parts) if layout.pad else _ragged(stream, next(parts), next(parts))
        return stream.arrange(columns)

    return _Source(arrays, specs, assemble)


def _mapped(stream: BatchStream) -> _Source:
    """Pass what the functions of `map` return; the first batch shows its columns, shapes and dtypes."""
    with closing(stream.copy().batches()) as batches:
        first = stream.convert(next(batches), lambda column: column)
    specs = []
    for column in keras.tree.flatten(first):
        if isinstance(column, Ragged):
            specs += _ragged_specs(column.values.dtype, None)
        else:
            specs.append(tf.TensorSpec((None, *column.shape[1:]), column.dtype))

    def arrays() -> Iterator[tuple[np.ndarray, ...]]:
        for batch in stream.batches():
            inputs = stream.convert(batch, lambda column: column)
            keras.tree.assert_same_structure(first, inputs)
            flat = []
            for column in keras.tree.flatten(inputs):
                flat += [column.values, column.offsets] if isinstance(column, Ragged) else [column]
            yield tuple(map(stream.engine.host, flat))

    def assemble(*flat: tf.Tensor) -> Inputs:
        parts = iter(flat)
        columns = [
            _ragged(stream, next(parts), next(parts)) if isinstance(column, Ragged) else next(parts)
            for column in keras.tree.flatten(first)
        ]
        return keras.tree.pack_sequence_as(first, columns)

    return _Source(arrays, specs, assemble)


def _ragged_specs(dtype: Any, size: int | None) -> list[tf.TensorSpec]:
    return [tf.TensorSpec((None,), dtype), tf.TensorSpec((None if size is None else size + 1,), "int64")]


def _ragged(stream: BatchStream, values: tf.Tensor, offsets: tf.Tensor) -> Any:
    if stream.lists == "offsets":
        return values, offsets
    return tf.RaggedTensor.from_row_splits(values, offsets, validate=False)
