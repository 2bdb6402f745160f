"""The TensorFlow face of a fitted graph: raw tensors to features. Imported only where TensorFlow is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from kerasrec.etl.lookup.tensor_column import TensorColumn
from kerasrec.etl.operator.graph import in_order, wanted
from kerasrec.etl.operator.operator import Node
from kerasrec.schema import Column, Schema
from kerasrec.tensor_names import TensorNames, tensor_names


class WorkflowModule(tf.Module):
    """`__call__(raw)` gives the features of raw rows; see `Workflow.tensorflow`. It may be traced into a
    SavedModel, which must track it.

    Args:
        root: a fitted graph.
        inputs: the raw columns that it is given: at least those that `features` are made from.
        features: the columns to make, and the types to make them of. Nothing else is in the module.
    """

    def __init__(self, root: Node, inputs: Sequence[Column], features: Schema):
        super().__init__(name="workflow")
        resources: list[Any] = []
        with tf.init_scope():
            self._apply = _compile(root, {column.name: column for column in inputs}, features, resources)
        self.resources = resources

    def __call__(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return self._apply(raw)


Face = Callable[[list[TensorColumn]], list[TensorColumn]]


def _compile(
    root: Node, inputs: Mapping[str, Column], features: Schema, resources: list[Any]
) -> Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]:
    """A function of raw tensors that does what the graph does to make `features`, and nothing else."""
    needed = wanted(root, features.names)
    nodes = [node for node in in_order(root) if needed[id(node)]]
    columns: dict[int, dict[str, Column]] = {}
    plan: list[tuple[Node, list[str], list[str], Face]] = []
    for node in nodes:
        names = needed[id(node)]
        if not node.parents:
            columns[id(node)] = {name: inputs[name] for name in names}
            continue
        given = {name: column for parent in node.parents for name, column in columns.get(id(parent), {}).items()}
        if node.op is None:
            columns[id(node)] = {name: given[name] for name in names}
            continue
        read = [name for name in node.inputs if name in given]
        face = node.op.tensorflow([given[name] for name in read], resources)
        made = node.op.output([given[name] for name in read])
        columns[id(node)] = {column.name: column for column in made}
        plan.append((node, read, [column.name for column in made], face))
    faces = {id(node): (read, names, face) for node, read, names, face in plan}
    raw_names, made_names = tensor_names(inputs.values()), tensor_names(features)

    def apply(raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        values: dict[int, dict[str, TensorColumn]] = {}
        for node in nodes:
            if not node.parents:
                values[id(node)] = {name: _from_wire(raw, raw_names[name]) for name in needed[id(node)]}
                continue
            given = {name: value for parent in node.parents for name, value in values.get(id(parent), {}).items()}
            if node.op is not None:
                read, names, face = faces[id(node)]
                given = dict(zip(names, face([given[name] for name in read]), strict=True))
            values[id(node)] = given
        wire: dict[str, tf.Tensor] = {}
        for feature in features:
            wire.update(_to_wire(values[id(root)][feature.name], feature, made_names[feature.name]))
        return wire

    return apply


def _from_wire(raw: Mapping[str, tf.Tensor], names: TensorNames) -> TensorColumn:
    """A raw column from the tensors that stand for it; NaN is null as well."""
    values = tf.convert_to_tensor(raw[names.values])
    valid = None if names.valid is None else raw[names.valid]
    if values.dtype.is_floating:
        number = tf.logical_not(tf.math.is_nan(values))
        valid = number if valid is None else tf.logical_and(valid, number)
    return TensorColumn(values, valid, None if names.offsets is None else raw[names.offsets])


def _to_wire(value: TensorColumn, column: Column, names: TensorNames) -> dict[str, tf.Tensor]:
    """The tensors that stand for a feature. A null, which training never saw, becomes NaN; an integer that is null
    is an error when it is computed."""
    values, valid = tf.cast(value.values, column.dtype), value.valid
    if valid is not None and values.dtype.is_floating:
        values = tf.where(valid, values, tf.constant(float("nan"), values.dtype))
    elif valid is not None and names.valid is None:
        problem = f"feature {column.name!r} is null after its operators, and no {column.dtype} stands for a null"
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(valid), [problem])]):
            values = tf.identity(values)
    wire = {names.values: values}
    if names.offsets is not None:
        wire[names.offsets] = value.offsets
    if names.valid is not None:
        wire[names.valid] = tf.ones_like(values, tf.bool) if valid is None else valid
    return wire
