"""Functions of a model's columns, traced to graphs whose inputs have wire names and whose lengths are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf

from kerasrec.schema import Schema
from kerasrec.serving.reads import FeatureRead
from kerasrec.serving.wire import wire_names
from kerasrec.tensor_names import TensorNames, signature, tensor_names
from kerasrec.typing import Tensor

Tensors = dict[str, tf.Tensor]
Function = Callable[[Tensors], Tensors]


def traced_columns(
    function: Function, columns: Schema, options: Mapping[str, tuple[str, tuple[int | None, ...]]] | None = None
) -> Any:
    """Trace a function of the columns' tensors to a graph whose inputs have wire names.

    Args:
        function: of the tensors by name.
        columns: all have the same number of rows, which the graph checks.
        options: the dtypes and shapes of further inputs, which are not columns.
    """
    tensors = {**signature(columns), **(options or {})}
    names = wire_names(tensors)

    @tf.function(autograph=False, jit_compile=False)
    def traced(**wire: tf.Tensor) -> dict[str, tf.Tensor]:
        wire = _checked(wire, names, columns)
        return function({name: wire[names[name]] for name in tensors})

    return traced.get_concrete_function(
        **{names[name]: tf.TensorSpec(shape, dtype, names[name]) for name, (dtype, shape) in tensors.items()}
    )


def _checked(wire: Mapping[str, tf.Tensor], names: Mapping[str, str], columns: Schema) -> dict[str, tf.Tensor]:
    """Return the same tensors in a graph that checks their lengths, with an error that names those that differ.

    Without the check one row would be broadcast over several others.
    """
    lengths: dict[str, Any] = {}
    expected: dict[str, Any] = {}
    rows: Any = None
    for name, parts in tensor_names(columns).items():
        elements = tf.size(wire[names[parts.values]], tf.int64)
        here = elements
        if parts.offsets is not None:
            offsets = wire[names[parts.offsets]]
            here = tf.size(offsets, tf.int64) - 1
            ends = f"the elements of {names[parts.values]}, by {names[parts.offsets]}"
            lengths[ends], expected[ends] = tf.reduce_sum(offsets[-1:]), elements
        if parts.valid is not None:
            valid = names[parts.valid]
            lengths[valid], expected[valid] = tf.size(wire[valid], tf.int64), elements
        rows = here if rows is None else rows
        lengths[f"the rows of {name}"], expected[f"the rows of {name}"] = here, rows
    actual_lengths, expected_lengths = tf.stack(list(lengths.values())), tf.stack(list(expected.values()))
    message = f"inputs do not have the same number of rows; lengths of {', '.join(lengths)}:"
    same = tf.reduce_all(actual_lengths == expected_lengths)
    values = [message, actual_lengths, "where expected:", expected_lengths]
    with tf.control_dependencies([tf.debugging.Assert(same, values, summarize=-1)]):
        return {name: tf.identity(tensor) for name, tensor in wire.items()}


def input_of(wire: Mapping[str, tf.Tensor], read: FeatureRead, names: TensorNames) -> Tensor:
    """Return a feature as the model takes it, from its tensors (those of a lookup table have no static rank)."""
    values = tf.ensure_shape(wire[names.values], [None])
    if names.offsets is None:
        return values
    lists = tf.RaggedTensor.from_row_splits(values, wire[names.offsets])
    return lists if read.ragged else lists.to_tensor(shape=[None, read.width])


def distinct(variables: Iterable[tf.Variable]) -> list[tf.Variable]:
    """Return the variables, each once."""
    return list({id(variable): variable for variable in variables}.values())
