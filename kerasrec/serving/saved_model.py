"""A trained model as a TensorFlow SavedModel that takes raw rows, without kerasrec or Keras in its process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from kerasrec.files import check_target, write_aside
from kerasrec.layers.embedding.full_tables import full_tables_on_rank_0
from kerasrec.parallel import comm
from kerasrec.parallel.comm.data_parallel import average_weights
from kerasrec.parallel.comm.raise_on_all import raise_on_all
from kerasrec.schema import Schema
from kerasrec.serving.reads import FeatureRead, features_read, target_names
from kerasrec.serving.rows import EXTRA, check_path
from kerasrec.serving.wire import wire_names
from kerasrec.tables.variables import untrained_weights
from kerasrec.tensor_names import TensorNames, signature, tensor_names
from kerasrec.typing import Tensor

if TYPE_CHECKING:
    from kerasrec.etl.workflow import Workflow

FILES = ("*.pb", "variables/*", "assets/*", f"{EXTRA}/*")  # of a SavedModel
Predict = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]


def export(
    model: Any, path: str | os.PathLike[str], workflow: Workflow | None = None, *, overwrite: bool = False
) -> Path:
    """Write `model` as a SavedModel, preceded by `workflow`, and return its path.

    Its signatures, both with the output `{target: (batch, 1)}` in the dtype that the model computes:

    - `serving_default`: the raw columns that the model reads, as they are in the raw files; `kr.serving.rows`
      makes its inputs. Targets, weights and columns that the model does not depend on are not inputs.
    - `transformed`: the features that the model reads. A scalar feature is `X` (batch,); a list feature
      `X__values` (n,) and `X__offsets` (batch + 1,) int64. Without a workflow, `serving_default` is the same.

    Columns whose names are not Python identifiers are renamed by `kerasrec.serving.wire.wire_names`.

    Every rank must call it. Rank 0 gathers the tables some 16 MiB at a time and writes the same SavedModel as one
    rank would. Weights that are not trained, such as moving means, become their mean over ranks.

    Args:
        model: a `kr.models` model, or a functional Keras model of a dict of features.
        path: the SavedModel's folder.
        workflow: the fitted `Workflow` that made the features.
        overwrite: whether a SavedModel at `path` is replaced; anything else at `path` never is.

    Raises:
        SchemaError: the workflow does not make a feature as the model reads it.
        ValueError: the model is not built, the names of its features are not known, two outputs have one name, or
            TensorFlow would take `path` for a pattern.
        FileExistsError: something is at `path`.
        OSError: it cannot be written; `path` is then left as it was.
        RuntimeError: Keras does not run on TensorFlow.
        MemoryError: there are several ranks, and rank 0 has not enough memory for full tables. All ranks raise
            what one raises.

    Example:

    >>> kr.serving.export(model, "served/", workflow=workflow)
    >>> served = tf.saved_model.load("served/").signatures["serving_default"]   # needs TensorFlow only
    >>> served(**kr.serving.rows([{"user": "ann", "genres": ["drama"]}], "served/"))
    {'clicked': <tf.Tensor: shape=(1, 1), dtype=float32, numpy=array([[0.2861]], dtype=float32)>}
    """
    _require_tensorflow()
    check_path(path)
    return _export_on_ranks(model, Path(os.path.abspath(path)), workflow, overwrite)


def check(model: Any, workflow: Workflow | None = None) -> None:
    """Raise what `export` of the same model and workflow would, without writing: for example before a long
    training.

    It does everything but write, so an operator or a layer that cannot be exported is found as well.
    """
    _require_tensorflow()
    features = None if workflow is None else workflow.output_schema
    reads, names = features_read(model, features), target_names(model, features)
    if comm.size() == 1:
        _graphs(model, reads, names, workflow)


def _export_on_ranks(model: Any, path: Path, workflow: Workflow | None, overwrite: bool) -> Path:
    """Write the SavedModel on rank 0, with the tables of all ranks."""

    def prepare() -> tuple[list[FeatureRead], list[str]]:
        if comm.rank() == 0:
            _refuse_to_overwrite(path, overwrite)
        features = None if workflow is None else workflow.output_schema
        return features_read(model, features), target_names(model, features)

    reads, names = raise_on_all(prepare)
    average_weights(untrained_weights(model))
    with full_tables_on_rank_0(model):
        raise_on_all(lambda: _write(model, reads, names, path, workflow, overwrite) if comm.rank() == 0 else None)
    return path


def _require_tensorflow() -> None:
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"SavedModel export requires the TensorFlow backend of Keras; this is {keras.backend.backend()}"
        )


def _graphs(
    model: Any, reads: list[FeatureRead], names: list[str], workflow: Workflow | None
) -> tuple[tf.Module, dict[str, Any], Schema]:
    """Return the module to save, its signatures, and the raw columns that it reads."""
    predict = _predictor(model, reads, names)
    module = tf.Module(name="served")
    raw = Schema(read.column for read in reads)
    transformed = _traced(predict, raw)
    signatures = {"serving_default": transformed, "transformed": transformed}
    if workflow is not None:
        made = workflow.output_schema
        module.features = workflow.tensorflow_module(Schema(read.cast(made[read.column.name]) for read in reads))
        raw = workflow.raw_columns(read.column.name for read in reads)
        signatures["serving_default"] = _traced(lambda wire: predict(module.features(wire)), raw)
    # The module must refer to everything that a loaded signature reads. Of the model that is its variables but
    # not its layers, so that loading does not need Keras.
    module.variables_read = _distinct(v for concrete in signatures.values() for v in concrete.graph.variables)
    return module, signatures, raw


def _write(
    model: Any,
    reads: list[FeatureRead],
    names: list[str],
    path: Path,
    workflow: Workflow | None,
    overwrite: bool,
) -> None:
    module, signatures, raw = _graphs(model, reads, names, workflow)
    with write_aside(path, overwrite=overwrite, files=FILES) as aside, _disk_errors(path):
        tf.saved_model.save(module, str(aside), signatures=signatures)
        extra = aside / EXTRA
        extra.mkdir()
        raw.save(extra)


def _predictor(model: Any, reads: list[FeatureRead], names: list[str]) -> Predict:
    tensors = tensor_names(read.column for read in reads)

    def predict(wire: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        features = {read.column.name: _input(wire, read, tensors[read.column.name]) for read in reads}
        return _by_name(model(features, training=False), names)

    return predict


def _input(wire: Mapping[str, tf.Tensor], read: FeatureRead, names: TensorNames) -> Tensor:
    """Return a feature as the model takes it, from its tensors (those of a lookup table have no static rank)."""
    values = tf.ensure_shape(wire[names.values], [None])
    if names.offsets is None:
        return values
    lists = tf.RaggedTensor.from_row_splits(values, wire[names.offsets])
    return lists if read.ragged else lists.to_tensor(shape=[None, read.width])


def _by_name(outputs: Any, names: list[str]) -> dict[str, tf.Tensor]:
    if not isinstance(outputs, Mapping):
        tensors = outputs if isinstance(outputs, list | tuple) else [outputs]
        if len(tensors) != len(names):
            raise ValueError(f"the model has {len(tensors)} outputs; expected {len(names)}: {', '.join(names)}")
        outputs = dict(zip(names, tensors, strict=True))
    return {name: _column(tf.convert_to_tensor(output)) for name, output in outputs.items()}


def _column(output: tf.Tensor) -> tf.Tensor:
    return output[:, tf.newaxis] if output.shape.rank == 1 else output


def _traced(function: Predict, columns: Schema) -> Any:
    """Trace a function of the columns' tensors to a graph whose inputs have wire names."""
    tensors = signature(columns)
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


def _distinct(variables: Iterator[tf.Variable]) -> list[tf.Variable]:
    return list({id(variable): variable for variable in variables}.values())


def _refuse_to_overwrite(path: Path, overwrite: bool) -> None:
    check_target(path, overwrite=overwrite, files=FILES)
    if (
        path.exists()
        and not (path / "saved_model.pb").exists()
        and not (path.is_dir() and not any(path.iterdir()))
    ):
        raise FileExistsError(f"{path} exists and is not a SavedModel, so it is not overwritten")


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except tf.errors.OpError as error:
        reason = (error.message or str(error)).strip().splitlines()[0]
        raise OSError(f"could not write the SavedModel {path}: {reason}") from error
