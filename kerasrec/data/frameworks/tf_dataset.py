"""A loader's batches as a `tf.data.Dataset`, which is what Keras's TensorFlow trainer asks of its data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from kerasrec.data.decode.arrow import Ragged, max_hotness

if TYPE_CHECKING:
    from kerasrec.data.loader import Loader


def dataset_of(loader: Loader) -> tf.data.Dataset:
    """One pass of it is one epoch of the loader."""
    arrays, specs, arrange = (_mapped if loader._functions else _in_blocks)(loader)
    dataset = tf.data.Dataset.from_generator(arrays, output_signature=tuple(specs))
    dataset = dataset.map(tf.autograph.experimental.do_not_convert(arrange))
    if not loader._skip:  # else the first pass is a shorter one
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(loader)))
    # There is nothing to tune, and the end of a pass would wait for the tuner, which sleeps ever longer: twice as
    # long each time, up to a minute.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(1).with_options(options)


Parts = tuple[Callable[[], Iterator[tuple[np.ndarray, ...]]], list[tf.TensorSpec], Callable[..., Any]]


def _in_blocks(loader: Loader) -> Parts:
    """Arrays come through Python in few pieces, a block of all columns of a dtype, which TensorFlow cuts into
    columns: passing each column by itself costs more than reading it at batches of a few thousand rows."""
    layout = loader._layout
    size = loader.batch_size if loader._share.full else None  # the same on all ranks, so that their graphs are
    blocks, lists, vectors = layout.blocks, layout.lists, layout.vectors
    specs = [tf.TensorSpec((len(names), size), dtype) for dtype, names in blocks.items()]
    specs += [tf.TensorSpec((size, column.width), column.dtype) for column in vectors.values()]
    for column in lists:
        if layout.pad:
            specs.append(tf.TensorSpec((size, max_hotness(column)), column.dtype))
        else:
            specs += _ragged_specs(column.dtype, size)

    def arrays() -> Iterator[tuple[np.ndarray, ...]]:
        for batch in loader._lend():
            flat = [batch.blocks[dtype] for dtype in blocks]
            flat += [batch.vectors[name] for name in vectors]
            for column in map(batch.lists.__getitem__, (column.name for column in lists)):
                flat += [column.values, column.offsets] if isinstance(column, Ragged) else [column]
            yield tuple(map(loader._engine.host, flat))

    def arrange(*flat: tf.Tensor) -> Any:
        parts = iter(flat)
        columns: dict[str, Any] = {}
        for names in blocks.values():
            columns.update(zip(names, tf.unstack(next(parts), num=len(names)), strict=True))
        for name in vectors:
            columns[name] = next(parts)
        for column in lists:
            columns[column.name] = next(parts) if layout.pad else _ragged(loader, next(parts), next(parts))
        return loader._arrange(columns)

    return arrays, specs, arrange


def _mapped(loader: Loader) -> Parts:
    """What functions make of a batch has columns, shapes and dtypes that the first batch tells."""
    with closing(loader._again()._lend()) as batches:
        first = loader._yielded(next(batches), lambda column: column)
    specs = []
    for leaf in keras.tree.flatten(first):
        if isinstance(leaf, Ragged):
            specs += _ragged_specs(leaf.values.dtype, None)
        else:
            specs.append(tf.TensorSpec((None, *leaf.shape[1:]), leaf.dtype))

    def arrays() -> Iterator[tuple[np.ndarray, ...]]:
        for batch in loader._lend():
            found = loader._yielded(batch, lambda column: column)
            keras.tree.assert_same_structure(first, found)
            flat = []
            for leaf in keras.tree.flatten(found):
                flat += [leaf.values, leaf.offsets] if isinstance(leaf, Ragged) else [leaf]
            yield tuple(map(loader._engine.host, flat))

    def arrange(*flat: tf.Tensor) -> Any:
        parts = iter(flat)
        leaves = [
            _ragged(loader, next(parts), next(parts)) if isinstance(leaf, Ragged) else next(parts)
            for leaf in keras.tree.flatten(first)
        ]
        return keras.tree.pack_sequence_as(first, leaves)

    return arrays, specs, arrange


def _ragged_specs(dtype: Any, size: int | None) -> list[tf.TensorSpec]:
    return [tf.TensorSpec((None,), dtype), tf.TensorSpec((None if size is None else size + 1,), "int64")]


def _ragged(loader: Loader, values: tf.Tensor, offsets: tf.Tensor) -> Any:
    if loader.lists == "offsets":
        return values, offsets
    return tf.RaggedTensor.from_row_splits(values, offsets, validate=False)
