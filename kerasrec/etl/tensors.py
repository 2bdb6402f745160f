"""The TensorFlow face of a fitted graph: raw tensors to features. Imported only where TensorFlow is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from kerasrec.etl.graph import Node, in_order
from kerasrec.schema import Column, Schema


@dataclass(frozen=True)
class TensorColumn:
    """A column as tensors.

    Attributes:
        values: (n,), the elements; what stands where `valid` is false means nothing.
        valid: (n,) bool, false for a null; None where there is none.
        offsets: of a list column, (batch + 1,) int64: row i is `values[offsets[i]:offsets[i + 1]]`.
    """

    values: tf.Tensor
    valid: tf.Tensor | None = None
    offsets: tf.Tensor | None = None

    def evolve(self, **changes: Any) -> TensorColumn:
        return replace(self, **changes)


def any_valid(values: Sequence[TensorColumn]) -> tf.Tensor | None:
    """Where at least one of some columns holds a value; None where one of them always does."""
    masks = [x.valid for x in values if x.valid is not None]
    return tf.reduce_any(tf.stack(masks), axis=0) if len(masks) == len(values) else None


class WorkflowModule(tf.Module):
    """`__call__(raw)` gives the features of raw rows; see `Workflow.tensorflow`. It may be traced into a
    SavedModel, which must track it.

    Args:
        root: a fitted graph.
        inputs: the raw columns.
        features: the columns to make, as they leave the workflow.
    """

    def __init__(self, root: Node, inputs: Sequence[Column], features: Schema):
        super().__init__(name="workflow")
        resources: list[Any] = []
        with tf.init_scope():
            self._apply = _compile(root, {column.name: column for column in inputs}, features, resources)
        self.resources = resources

    def __call__(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return self._apply(raw)


def table_key(values: tf.Tensor) -> tf.Tensor:
    """Values as keys of a lookup table: strings, or int64 that tells all values of a type apart."""
    if values.dtype == tf.string:
        return values
    return tf.bitcast(values, tf.int64) if values.dtype == tf.uint64 else tf.cast(values, tf.int64)


Face = Callable[[list[TensorColumn]], list[TensorColumn]]


def _compile(
    root: Node, inputs: Mapping[str, Column], features: Schema, resources: list[Any]
) -> Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]:
    """A function of raw tensors that does what the graph does to make `features`, and nothing else."""
    wanted = _wanted(root, features.names)
    nodes = [node for node in in_order(root) if wanted[id(node)]]
    columns: dict[int, dict[str, Column]] = {}
    plan: list[tuple[Node, list[str], list[str], Face]] = []
    for node in nodes:
        names = wanted[id(node)]
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

    def apply(raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        values: dict[int, dict[str, TensorColumn]] = {}
        for node in nodes:
            if not node.parents:
                values[id(node)] = {name: _from_wire(raw, inputs[name]) for name in wanted[id(node)]}
                continue
            given = {name: value for parent in node.parents for name, value in values.get(id(parent), {}).items()}
            if node.op is not None:
                read, names, face = faces[id(node)]
                given = dict(zip(names, face([given[name] for name in read]), strict=True))
            values[id(node)] = given
        wire: dict[str, tf.Tensor] = {}
        for feature in features:
            wire.update(_to_wire(values[id(root)][feature.name], feature))
        return wire

    return apply


def _wanted(root: Node, names: list[str]) -> dict[int, list[str]]:
    """For each node, by id, which of its outputs the outputs `names` of `root` need."""
    order = in_order(root)
    wanted: dict[int, set[str]] = {id(node): set() for node in order}
    wanted[id(root)] = set(names)
    for node in reversed(order):
        read = wanted[id(node)]
        if node.op is not None:
            read = {name for output in read for name in node.op.reads(output, node.inputs)}
        for parent in node.parents:
            wanted[id(parent)] |= read & set(parent.outputs)
    return {id(node): [name for name in node.outputs if name in wanted[id(node)]] for node in order}


def _from_wire(raw: Mapping[str, tf.Tensor], column: Column) -> TensorColumn:
    """A raw column from the tensors that stand for it; NaN is null as well."""
    name = column.name
    values = tf.convert_to_tensor(raw[f"{name}__values" if column.is_list else name])
    valid = raw[f"{name}__valid"] if column.nullable else None
    if values.dtype.is_floating:
        number = tf.logical_not(tf.math.is_nan(values))
        valid = number if valid is None else tf.logical_and(valid, number)
    return TensorColumn(values, valid, raw[f"{name}__offsets"] if column.is_list else None)


def _to_wire(value: TensorColumn, column: Column) -> dict[str, tf.Tensor]:
    """The tensors that stand for a feature; a null, which training never saw, becomes NaN."""
    values = tf.cast(value.values, column.dtype)
    if value.valid is not None and values.dtype.is_floating:
        values = tf.where(value.valid, values, tf.constant(float("nan"), values.dtype))
    if not column.is_list:
        return {column.name: values}
    return {f"{column.name}__values": values, f"{column.name}__offsets": value.offsets}
