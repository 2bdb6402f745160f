"""TensorFlow operations with gradients of our own that do not keep the graph they were traced in alive."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class Operation:
    """A function of tensors with a gradient of our own, in TensorFlow, eagerly and in any graph.

    `tf.custom_gradient` registers a function for good each time a graph is traced. That function refers to the
    graph, which refers to its variables, so a model with tables would never be freed. Here one function is
    registered once. A gradient gets the operation's inputs, and plain settings that travel with them.

    Args:
        name: of the gradient, in CamelCase; unique in the process.
        forward: `(inputs, **settings)` -> a list of tensors, computed from floating inputs and settings.
        backward: `(inputs, upstream, **settings)` -> a gradient or None for each input. `upstream` has the
            gradients of what `forward` returned.

    Both must be module-level functions: a closure would keep alive what it refers to.
    """

    def __init__(self, name: str, forward: Callable[..., Sequence[Any]], backward: Callable[..., Sequence[Any]]):
        self.name, self.forward, self.backward = name, forward, backward
        self._registered = False

    def __call__(self, inputs: Sequence[Any], **settings: Any) -> list[Any]:
        """Return what `forward` returns for the inputs.

        Args:
            inputs: tensors of any dtype; gradients are asked for the floating ones.
            settings: plain data that JSON can represent.
        """
        import tensorflow as tf

        if not self._registered:
            tf.RegisterGradient(self.name)(self._gradient)
            self._registered = True
        inputs = [tf.convert_to_tensor(each) for each in inputs]
        outer = [tf.stop_gradient(each) if each.dtype.is_floating else each for each in inputs]
        results = list(self.forward(outer, **settings))
        # A gradient function gets nothing but the operation, so everything it needs passes through that.
        settings_input = tf.constant(np.frombuffer(json.dumps([len(results), settings]).encode(), np.uint8))
        everything = [*results, *inputs, settings_input]
        with _graph().gradient_override_map({"IdentityN": self.name}):  # for gradients of graphs
            passed = tf.identity_n(everything)
        tf.__internal__.record_gradient(self.name, everything, (), passed)  # for tapes
        return list(passed[: len(results)])

    def called_in(self, op: Any) -> tuple[list[Any], dict[str, Any]] | None:
        """Return the inputs and settings of the call that an operation of a graph belongs to, or None."""
        if op.type != "IdentityN" or op.node_def.attr["_gradient_op_type"].s != self.name.encode():
            return None
        results, settings = _results_and_settings(op)
        return list(op.inputs[results:-1]), settings

    def _gradient(self, op: Any, *upstream: Any) -> list[Any]:
        results, settings = _results_and_settings(op)
        gradients = self.backward(list(op.inputs[results:-1]), list(upstream[:results]), **settings)
        return [None] * results + list(gradients) + [None]


def _results_and_settings(op: Any) -> Any:
    import tensorflow as tf

    return json.loads(tf.get_static_value(op.inputs[-1]).tobytes())


def _graph() -> Any:
    import tensorflow as tf

    return tf.compat.v1.get_default_graph()
