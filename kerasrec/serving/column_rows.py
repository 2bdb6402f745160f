"""Columns as tensors by name: from and to a signature's inputs, and of which rows are gathered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl
import tensorflow as tf

from kerasrec.etl.lookup.tensor_column import TensorColumn
from kerasrec.schema import Column
from kerasrec.serving.frame_rows import frame_reader
from kerasrec.tensor_names import tensor_names, tensor_type

TensorColumns = dict[str, TensorColumn]


def from_wire(wire: Mapping[str, tf.Tensor], columns: Iterable[Column]) -> TensorColumns:
    """Return columns, given their tensors by name."""
    return {
        column: TensorColumn(
            wire[names.values],
            None if names.valid is None else wire[names.valid],
            None if names.offsets is None else wire[names.offsets],
        )
        for column, names in tensor_names(columns).items()
    }


def to_wire(values: Mapping[str, TensorColumn], columns: Iterable[Column]) -> dict[str, tf.Tensor]:
    """Return the tensors of some columns by name; without nulls, all are valid."""
    wire = {}
    for column, names in tensor_names(columns).items():
        x = values[column]
        wire[names.values] = x.values
        if names.offsets is not None:
            wire[names.offsets] = x.offsets
        if names.valid is not None:
            wire[names.valid] = tf.ones_like(x.values, tf.bool) if x.valid is None else x.valid
    return wire


def of_frame(frame: pl.DataFrame, columns: Iterable[Column]) -> TensorColumns:
    """Return columns of a frame, as a schema describes them.

    Raises:
        SchemaError: a column is missing, or of another kind.
        ValueError: a value does not fit, or is null in a column that is not nullable.
    """
    read, values = frame_reader(frame), {}
    for column in columns:
        elements = read(column)
        if not column.nullable and not elements.valid.all():
            row = elements.row_of(int(elements.valid.argmin()))
            raise ValueError(f"column {column.name!r}, row {row}: null, but the model was fitted without nulls")
        valid = tf.constant(elements.valid) if column.nullable else None
        offsets = None if elements.offsets is None else tf.constant(elements.offsets)
        values[column.name] = TensorColumn(tf.constant(elements.values, tensor_type(column.dtype)), valid, offsets)
    return values


class ColumnRows(tf.Module):
    """Columns, of which rows are gathered: those of one dtype side by side in one matrix, lists one by one.

    Args:
        columns: by name.
        stored: whether the tensors are kept in variables, for a SavedModel.
    """

    def __init__(self, columns: Mapping[str, TensorColumn], *, stored: bool = False):
        super().__init__(name="columns")
        store = _variable if stored else tf.identity
        scalars = {name: x for name, x in columns.items() if x.offsets is None}
        parts = [(name, False, x.values) for name, x in scalars.items()]
        parts += [(name, True, x.valid) for name, x in scalars.items() if x.valid is not None]
        self._keys: list[list[tuple[str, bool]]] = []
        self._matrices = []
        for dtype in dict.fromkeys(tensor.dtype for *_, tensor in parts):
            of_dtype = [(name, is_valid, tensor) for name, is_valid, tensor in parts if tensor.dtype == dtype]
            self._keys.append([(name, is_valid) for name, is_valid, _ in of_dtype])
            self._matrices.append(store(tf.stack([tensor for *_, tensor in of_dtype], axis=1)))
        self._lists = {
            name: [store(t) for t in (x.offsets, x.values, x.valid) if t is not None]
            for name, x in columns.items()
            if x.offsets is not None
        }

    def __call__(self, at: tf.Tensor) -> TensorColumns:
        """Return the columns' rows at positions (n,)."""
        parts: dict[tuple[str, bool], tf.Tensor] = {}
        for keys, matrix in zip(self._keys, self._matrices, strict=True):
            parts |= zip(keys, tf.unstack(tf.gather(matrix, at), len(keys), axis=1), strict=True)
        rows = {name: TensorColumn(x, parts.get((name, True))) for (name, valid), x in parts.items() if not valid}
        for name, (offsets, *flat) in self._lists.items():
            gathered = [_rows_of_lists(tf.convert_to_tensor(x), tf.convert_to_tensor(offsets), at) for x in flat]
            valid = gathered[1].values if len(gathered) > 1 else None
            rows[name] = TensorColumn(gathered[0].values, valid, gathered[0].row_splits)
        return rows


def _variable(tensor: tf.Tensor) -> tf.Variable:
    return tf.Variable(tensor, trainable=False)


def _rows_of_lists(values: tf.Tensor, offsets: tf.Tensor, at: tf.Tensor) -> Any:
    return tf.gather(tf.RaggedTensor.from_row_splits(values, offsets, validate=False), at)
