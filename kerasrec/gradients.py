"""TensorFlow operations with a gradient of their own, which keep nothing of what they were called with."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class Operation:
    """A function of tensors with a gradient of its own, in TensorFlow, eagerly and in any graph.

    `tf.custom_gradient` registers a function for ever each time a graph is traced. That function holds the graph,
    which holds the variables it reads, so a model with tables would never be freed. Here one function is
    registered, once. What a gradient needs are the operation's inputs, and plain facts that travel with these.

    Args:
        name: of the gradient, in CamelCase; unique in the process.
        forward: `(inputs, **facts)` -> a list of tensors, computed from floating inputs and facts.
        backward: `(inputs, upstream, **facts)` -> a gradient or None for each input. `upstream` has the gradients
            of what `forward` returned.

    Both must be functions of a module: a closure would hold what it closes over.
    """

    def __init__(self, name: str, forward: Callable[..., Sequence[Any]], backward: Callable[..., Sequence[Any]]):
        self.name, self.forward, self.backward = name, forward, backward
        self._registered = False

    def __call__(self, inputs: Sequence[Any], **facts: Any) -> list[Any]:
        """What `forward` makes of the inputs.

        Args:
            inputs: tensors of any dtype; gradients are asked for the floating ones.
            facts: plain data, as JSON keeps it.
        """
        import tensorflow as tf

        if not self._registered:
            tf.RegisterGradient(self.name)(self._gradient)
            self._registered = True
        inputs = [tf.convert_to_tensor(each) for each in inputs]
        outer = [tf.stop_gradient(each) if each.dtype.is_floating else each for each in inputs]
        results = list(self.forward(outer, **facts))
        # The gradient is asked for by the operation alone, so all that it needs goes through that.
        facts_input = tf.constant(np.frombuffer(json.dumps([len(results), facts]).encode(), np.uint8))
        everything = [*results, *inputs, facts_input]
        with _graph().gradient_override_map({"IdentityN": self.name}):  # for gradients of graphs
            passed = tf.identity_n(everything)
        tf.__internal__.record_gradient(self.name, everything, (), passed)  # for tapes
        return list(passed[: len(results)])

    def called_in(self, op: Any) -> tuple[list[Any], dict[str, Any]] | None:
        """The inputs and facts of the call that an operation of a graph is; None where it is something else."""
        if op.type != "IdentityN" or op.node_def.attr["_gradient_op_type"].s != self.name.encode():
            return None
        results, facts = _results_and_facts(op)
        return list(op.inputs[results:-1]), facts

    def _gradient(self, op: Any, *upstream: Any) -> list[Any]:
        results, facts = _results_and_facts(op)
        gradients = self.backward(list(op.inputs[results:-1]), list(upstream[:results]), **facts)
        return [None] * results + list(gradients) + [None]


def _results_and_facts(op: Any) -> Any:
    import tensorflow as tf

    return json.loads(tf.get_static_value(op.inputs[-1]).tobytes())


def _graph() -> Any:
    import tensorflow as tf

    return tf.compat.v1.get_default_graph()
