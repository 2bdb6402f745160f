"""A trained model as an ONNX file, for the part behind the features: ONNX has no lookups of strings."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np
import tensorflow as tf

from kerasrec.files import check_target, write_aside
from kerasrec.layers.embedding.full_tables import full_tables_on_rank_0
from kerasrec.parallel import comm
from kerasrec.parallel.comm.data_parallel import average_weights
from kerasrec.parallel.comm.raise_on_all import raise_on_all
from kerasrec.retrieval.encoders import Retriever
from kerasrec.schema import Schema
from kerasrec.serving.reads import FeatureRead, columns_read, features_read, target_names
from kerasrec.serving.saved_model import by_name
from kerasrec.serving.write import require_tensorflow
from kerasrec.tables.variables import untrained_weights
from kerasrec.tensor_names import TensorNames, signature, tensor_names
from kerasrec.typing import Tensor

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
LARGEST = 2 << 30  # bytes of weights: no file in this format can be larger

Encoder = Literal["queries", "candidates"]


def onnx(
    model: keras.Model | Retriever,
    path: str | os.PathLike[str],
    *,
    encoder: Encoder | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a model as an ONNX file that takes features, and return its path.

    Inputs have the names of the features: a scalar feature is `X` (rows,), a list `X__values` (n,) and
    `X__offsets` (rows + 1,) int64; the number of rows is free. Outputs are the targets, `(rows, 1)`, or of an
    encoder `vector` (rows, dim): a next-item model's scores are the dot products of its two encoders' vectors.
    ONNX does not check that all inputs have the same number of rows.

    Features are what a workflow makes, such as ids: ONNX has no table from strings to ids. `kr.serving.export`
    writes workflow and model as a SavedModel.

    Every rank must call it; rank 0 gathers the tables and writes the file, which cannot be larger than 2 GiB.

    Args:
        model: a `kr.models` model, or a functional Keras model of a dict of features.
        path: the file, such as "model.onnx".
        encoder: of a retrieval or next-item model, which of its encoders: "queries" or "candidates".
        overwrite: whether a file at `path` is replaced.

    Raises:
        ImportError: tf2onnx is not installed: `pip install "kerasrec[onnx]"`.
        ValueError: the model is not built, the names of its features are not known, it has an operation that
            cannot be converted or more than 2 GiB of weights, or `encoder` does not fit the model.
        FileExistsError: something is at `path`.
        RuntimeError: Keras does not run on TensorFlow.

    Example:

    >>> kr.serving.onnx(model, "model.onnx")
    >>> session = onnxruntime.InferenceSession("model.onnx")
    >>> genres = {"genres__values": np.array([3, 7], "int32"), "genres__offsets": np.array([0, 2])}
    >>> session.run(["clicked"], {"user": np.array([5], "int32"), **genres})
    [array([[0.2861]], dtype=float32)]
    """
    require_tensorflow()
    _import_converter()
    path = Path(os.path.abspath(path))
    raise_on_all(lambda: check_target(path, overwrite=overwrite) if comm.rank() == 0 else None)
    part = raise_on_all(lambda: _part_of(model, encoder))
    with ExitStack() as stack:
        average_weights(untrained_weights(model))
        stack.enter_context(full_tables_on_rank_0(model))
        raise_on_all(lambda: _write(part, path, overwrite) if comm.rank() == 0 else None)
    return path


@dataclass(frozen=True)
class _Part:
    """What is converted: a function of features."""

    name: str
    reads: Sequence[FeatureRead]
    function: Callable[[dict[str, Tensor]], dict[str, Tensor]]


def _part_of(model: keras.Model | Retriever, encoder: Encoder | None) -> _Part:
    if not isinstance(model, Retriever):
        if encoder is not None:
            raise ValueError(f"encoder={encoder!r}: {model.name!r} is not a retrieval model; leave encoder out")
        reads, names = features_read(model, None), target_names(model, None)
        return _Part(model.name, reads, lambda features: by_name(model(features, training=False), names))
    if encoder not in ("queries", "candidates"):
        raise ValueError(
            f'{model.name!r} is a retrieval model, whose encoders are files of their own: pass encoder="queries" '
            f'or encoder="candidates"; got {encoder!r}'
        )
    of_queries = encoder == "queries"
    encode = model.encode_queries if of_queries else model.encode_candidates
    schema = model.query_schema if of_queries else model.candidate_schema
    return _Part(model.name, columns_read(schema, None), lambda features: {"vector": encode(features)})


def _write(part: _Part, path: Path, overwrite: bool) -> None:
    proto = _converted(part)
    with write_aside(path, overwrite=overwrite) as aside:
        aside.write_bytes(proto.SerializeToString())


def _converted(part: _Part) -> ModelProto:
    from onnx import defs

    converter = _import_converter()
    schema = Schema(read.column for read in part.reads)
    specs = signature(schema)
    names = tensor_names(schema)

    def call(*tensors: tf.Tensor) -> list[tf.Tensor]:
        wire = dict(zip(specs, tensors, strict=True))
        outputs = part.function({r.column.name: _input_of(wire, r, names[r.column.name]) for r in part.reads})
        outputs_by_name.update(outputs)
        return [output[:-1] for output in outputs.values()]

    outputs_by_name: dict[str, Any] = {}
    inputs = [tf.TensorSpec(shape, dtype, f"input_{i}") for i, (dtype, shape) in enumerate(specs.values())]
    traced = tf.function(call, input_signature=inputs, autograph=False, jit_compile=False)
    concrete = traced.get_concrete_function()
    size = sum(v.dtype.size * v.shape.num_elements() for v in concrete.graph.variables)
    if size > LARGEST:
        raise ValueError(
            f"{part.name!r} has {size / 2**30:.1f} GiB of weights, and an ONNX file at most 2: "
            "kr.serving.export writes a SavedModel of any size"
        )
    try:
        proto, _ = converter(traced, inputs, opset=OPSET, custom_op_handlers={"Erfc": (_erfc, [])})
    except Exception as error:  # tf2onnx raises many kinds
        raise ValueError(f"{part.name!r} cannot be converted to ONNX: {error}") from error
    operations = {(node.op_type, node.domain) for node in proto.graph.node}
    if unknown := sorted(name for name, domain in operations if not defs.has(name, domain)):
        raise ValueError(f"{part.name!r} cannot be converted to ONNX, which has no operation {', '.join(unknown)}")
    _rename(proto, [*specs], [*outputs_by_name])
    return proto


def _input_of(wire: dict[str, tf.Tensor], read: FeatureRead, names: TensorNames) -> tf.Tensor:
    """Return a feature as the model takes it, with one more row: operations of ONNX fail on none.

    Lists are padded with 0, because tf2onnx does not convert ragged ones.
    """
    values = wire[names.values]
    padded = tf.concat([values, tf.zeros([1], values.dtype)], 0)
    if names.offsets is None:
        return padded
    offsets = tf.concat([wire[names.offsets], wire[names.offsets][-1:]], 0)
    lengths = offsets[1:] - offsets[:-1]
    width = tf.constant(read.width, tf.int64) if read.width else tf.maximum(tf.reduce_max(lengths), 1)
    position = tf.range(width)[tf.newaxis]
    padding = tf.size(values, tf.int64)  # where it is
    place = tf.where(position < lengths[:, tf.newaxis], offsets[:-1, tf.newaxis] + position, padding)
    return tf.gather(padded, place)


def _erfc(graph: Any, node: Any, name: str, arguments: Any) -> None:
    """Write `1 - erf`, which exact GELUs are made of, for an operation that tf2onnx does not know."""
    from onnx import helper

    output, shape, dtype = node.output[0], graph.get_shape(node.output[0]), graph.get_dtype(node.output[0])
    one = graph.make_const(f"{name} one", np.ones((), helper.tensor_dtype_to_np_dtype(dtype)))
    graph.remove_node(node.name)
    erf = graph.make_node("Erf", [node.input[0]], shapes=[shape], dtypes=[dtype])
    graph.make_node("Sub", [one.output[0], erf.output[0]], outputs=[output], shapes=[shape], dtypes=[dtype])


def _rename(proto: ModelProto, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Give inputs and outputs their names, and their dimensions the names of what is counted."""
    from onnx import helper

    graph = proto.graph
    new: dict[str, str] = {}
    for value in graph.input:
        new[str(value.name)] = inputs[int(value.name.removeprefix("input_").removesuffix(":0"))]
    ends = dict(zip([str(value.name) for value in graph.output], outputs, strict=True))
    _rename_values(graph, new)
    for old, name in ends.items():
        graph.node.append(helper.make_node("Identity", [new.get(old, old)], [name], name=f"output {name}"))
    for value in graph.output:
        value.name = ends[value.name]
        value.type.tensor_type.shape.dim[0].dim_param = "rows"
    for value in graph.input:
        value.name = new[value.name]
        value.type.tensor_type.shape.dim[0].dim_param = f"length of {value.name}"


def _rename_values(graph: Any, new: dict[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename_values(attribute.g, new)


def _import_converter() -> Callable[..., Any]:
    try:
        from tf2onnx.convert import from_function
    except ImportError as error:
        raise ImportError(f'ONNX export needs tf2onnx: pip install "kerasrec[onnx]" ({error})') from error
    return from_function
