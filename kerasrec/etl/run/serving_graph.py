"""The TensorFlow implementation of a fitted graph, from raw tensors to features; importing it imports
TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from kerasrec.etl.lookup.tensor_column import TensorColumn
from kerasrec.etl.operator.graph import needed_outputs, topological_order
from kerasrec.etl.operator.operator import Node
from kerasrec.schema import Column, Schema
from kerasrec.tensor_names import TensorNames, tensor_names


class WorkflowModule(tf.Module):
    """Computes the features of raw rows; see `Workflow.tensorflow`. A SavedModel that traces it must track it.

    Args:
        root: a fitted graph.
        inputs: the raw columns; at least those that `features` depend on.
        features: the columns to compute, with their dtypes. The module has nothing that they do not need.
    """

    def __init__(self, root: Node, inputs: Sequence[Column], features: Schema):
        super().__init__(name="workflow")
        resources: list[Any] = []
        with tf.init_scope():
            self._apply = _compile(root, {column.name: column for column in inputs}, features, resources)
        self.resources = resources

    def __call__(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return self._apply(raw)


ServedFunction = Callable[[list[TensorColumn]], list[TensorColumn]]


def _compile(
    root: Node, inputs: Mapping[str, Column], features: Schema, resources: list[Any]
) -> Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]:
    """Return a function of raw tensors that computes `features`, and only what they depend on."""
    needed = needed_outputs(root, features.names)
    nodes = [node for node in topological_order(root) if needed[id(node)]]
    columns: dict[int, dict[str, Column]] = {}
    functions: dict[int, tuple[list[str], list[str], ServedFunction]] = {}  # inputs, outputs, function
    for node in nodes:
        names = needed[id(node)]
        if not node.parents:
            columns[id(node)] = {name: inputs[name] for name in names}
            continue
        available = {n: column for parent in node.parents for n, column in columns.get(id(parent), {}).items()}
        if node.op is None:
            columns[id(node)] = {name: available[name] for name in names}
            continue
        inputs_of_op = [name for name in node.inputs if name in available]
        function = node.op.tensorflow([available[name] for name in inputs_of_op], resources)
        outputs = node.op.output([available[name] for name in inputs_of_op])
        columns[id(node)] = {column.name: column for column in outputs}
        functions[id(node)] = (inputs_of_op, [column.name for column in outputs], function)
    raw_names, feature_names = tensor_names(inputs.values()), tensor_names(features)

    def apply(raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        values: dict[int, dict[str, TensorColumn]] = {}
        for node in nodes:
            if not node.parents:
                values[id(node)] = {name: _from_wire(raw, raw_names[name]) for name in needed[id(node)]}
                continue
            available = {n: value for parent in node.parents for n, value in values.get(id(parent), {}).items()}
            if node.op is None:  # a selection has no other columns of its parents
                values[id(node)] = {name: available[name] for name in needed[id(node)]}
                continue
            inputs_of_op, outputs, function = functions[id(node)]
            made = function([available[name] for name in inputs_of_op])
            values[id(node)] = {name: _of_one_dimension(x) for name, x in zip(outputs, made, strict=True)}
        wire: dict[str, tf.Tensor] = {}
        for feature in features:
            wire.update(_to_wire(values[id(root)][feature.name], feature, feature_names[feature.name]))
        return wire

    return apply


def _of_one_dimension(value: TensorColumn) -> TensorColumn:
    """Return a column whose tensors are known to have one dimension, which lookups in tables forget."""
    for tensor in (value.values, value.valid, value.offsets):
        if isinstance(tensor, tf.Tensor):  # not an array, as which eager callers may pass a column
            tensor.set_shape([None])
    return value


def _from_wire(raw: Mapping[str, tf.Tensor], names: TensorNames) -> TensorColumn:
    """Return a raw column, given its tensors on the wire; NaN is null as well."""
    values = tf.convert_to_tensor(raw[names.values])
    valid = None if names.valid is None else raw[names.valid]
    if values.dtype.is_floating:
        is_number = tf.logical_not(tf.math.is_nan(values))
        valid = is_number if valid is None else tf.logical_and(valid, is_number)
    return TensorColumn(values, valid, None if names.offsets is None else raw[names.offsets])


def _to_wire(value: TensorColumn, column: Column, names: TensorNames) -> dict[str, tf.Tensor]:
    """Return the tensors of a feature on the wire. A null, which training data cannot have, becomes NaN; a null
    integer is an error when it is computed."""
    values, valid = tf.cast(value.values, column.dtype), value.valid
    if valid is not None and values.dtype.is_floating:
        values = tf.where(valid, values, tf.constant(float("nan"), values.dtype))
    elif valid is not None and names.valid is None:
        problem = f"feature {column.name!r} is null after its operators, but {column.dtype} has no value for nulls"
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(valid), [problem])]):
            values = tf.identity(values)
    wire = {names.values: values}
    if names.offsets is not None:
        wire[names.offsets] = value.offsets
    if names.valid is not None:
        wire[names.valid] = tf.ones_like(values, tf.bool) if valid is None else valid
    return wire
