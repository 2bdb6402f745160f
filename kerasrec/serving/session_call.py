"""The signature of a SavedModel in a session, which loads in a third of the time of `tf.saved_model.load`.

Beside Triton's `model.py` this file is copied into the repository: it needs NumPy and TensorFlow alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

SIGNATURE = "serving_default"


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
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        with graph.as_default():
            parts, feeds = self._split()
            tensors = {signature.inputs[name].name: part for name, part in parts.items()}
            tf.compat.v1.saved_model.load(self._session, ["serve"], str(path), input_map=tensors)
            fetches = {name: tensor.name for name, tensor in signature.outputs.items()}
            self._call: Any = self._session.make_callable(fetches, feed_list=feeds)

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
