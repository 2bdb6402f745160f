"""The signature of a SavedModel in a session, which loads in a fifth of the time of `tf.saved_model.load`.

Beside Triton's `model.py` this file is copied into the repository: it needs NumPy and TensorFlow alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import rewriter_config_pb2, saved_model_pb2

SIGNATURE = "serving_default"
_INITIALIZE = "__saved_model_init_op"  # a signature, where there is anything to initialize


class SessionCall:
    """Calls a signature with arrays that are concatenated by dtype, which the graph splits again.

    Of a SavedModel the graph alone is read, not the Python objects that `tf.saved_model.load` makes of it.

    Args:
        path: a SavedModel whose lookup tables have names, as those that `kr.serving.export` writes.

    Attributes:
        inputs: the dtype of each input by name.
        outputs: the names of the outputs.

    Raises:
        NotImplementedError: a table is anonymous: each call would make another, which is empty.

    Example:

    >>> call = SessionCall(Path("served/"))
    >>> call({"user": np.array([b"ann"], object), "age": np.array([31.0])})
    {'clicked': array([[0.2861]], dtype=float32)}
    """

    def __init__(self, path: Path):
        saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs[0]
        if any(node.op.startswith("Anonymous") for node in saved.graph_def.node):
            raise NotImplementedError(f"{path} has tables without names")
        signature = saved.signature_def[SIGNATURE]
        self._groups: dict[tf.DType, list[str]] = {}
        for name, tensor in sorted(signature.inputs.items()):
            self._groups.setdefault(tf.as_dtype(tensor.dtype), []).append(name)
        self.inputs = {name: dtype.name for dtype, names in self._groups.items() for name in names}
        self.outputs = tuple(signature.outputs)
        graph, config = tf.Graph(), tf.compat.v1.ConfigProto()
        # Grappler's second pass, which is the default, takes longer than it saves in thousands of calls.
        config.graph_options.rewrite_options.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        with graph.as_default(), tf.name_scope("inputs_by_dtype"):
            parts, feeds = self._split()
        fetches = {name: tensor.name for name, tensor in signature.outputs.items()}
        tensors = {signature.inputs[name].name: part for name, part in parts.items()}
        self._load(saved, path, list(fetches.values()), tensors)
        self._call: Any = self._session.make_callable(fetches, feed_list=feeds)

    def _load(self, saved: Any, path: Path, outputs: list[str], inputs: Mapping[str, tf.Tensor]) -> None:
        """Import the part of a graph that its outputs need, restore its variables and fill its tables."""
        variables = path / "variables" / "variables"
        restore = [saved.saver_def.restore_op_name] if variables.with_suffix(".index").exists() else []
        initialize = [tensor.name for tensor in saved.signature_def[_INITIALIZE].outputs.values()]
        graph, part = self._session.graph, part_of(saved.graph_def, [*outputs, *restore, *initialize])
        with graph.as_default():
            tf.graph_util.import_graph_def(part, inputs, name="")
        files = {each.tensor_info.name: str(path / "assets" / each.filename) for each in saved.asset_file_def}
        files |= {saved.saver_def.filename_tensor_name: str(variables)}
        there = {node.name for node in part.node}
        feeds = {name: file for name, file in files.items() if _node(name) in there}
        for name in (*restore, *initialize):
            self._session.run(graph.get_operation_by_name(_node(name)), feeds)

    def _split(self) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        """Return each input as a part of those of its dtype, and what to feed: values and lengths by dtype."""
        parts: dict[str, tf.Tensor] = {}
        feeds: list[tf.Tensor] = []
        for dtype, names in self._groups.items():
            values = tf.compat.v1.placeholder(dtype, [None])
            lengths = tf.compat.v1.placeholder(tf.int64, [len(names)])
            parts |= zip(names, tf.split(values, lengths, num=len(names)), strict=True)
            feeds += [values, lengths]
        return parts, feeds

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs by name.

        Args:
            arrays: all inputs of the signature, of shape (n,) and of its dtypes; strings as objects.

        Raises:
            tf.errors.InvalidArgumentError: the graph refuses them.
        """
        feeds: list[np.ndarray] = []
        for names in self._groups.values():
            of_dtype = [arrays[name] for name in names]
            feeds += [np.concatenate(of_dtype), np.array([len(array) for array in of_dtype], np.int64)]
        outputs: dict[str, np.ndarray] = self._call(*feeds)
        return outputs


def part_of(graph: tf.compat.v1.GraphDef, targets: Iterable[str]) -> tf.compat.v1.GraphDef:
    """Return the nodes that some targets need, and the functions that these call: each one takes time to load."""
    nodes = {node.name: node for node in graph.node}
    functions = {function.signature.name: function for function in graph.library.function}
    part = tf.compat.v1.GraphDef(versions=graph.versions)
    names = list(targets)
    while names:
        if (node := nodes.pop(_node(names.pop()), None)) is not None:
            part.node.append(node)
            names += node.input
    callers = list(part.node)
    while callers:
        node = callers.pop()
        values = node.attr.values()
        called = [node.op, *(each.name for value in values for each in (value.func, *value.list.func))]
        for function in filter(None, (functions.pop(name, None) for name in called)):
            part.library.function.append(function)
            callers += function.node_def
    return part


def _node(name: str) -> str:
    """Return the name of the node of a tensor or a control input."""
    return name.removeprefix("^").partition(":")[0]
