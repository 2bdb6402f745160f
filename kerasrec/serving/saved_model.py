"""A trained model as a TensorFlow SavedModel that takes raw rows, without kerasrec or Keras in its process."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from kerasrec.parallel import comm
from kerasrec.retrieval.encoders import Retriever
from kerasrec.retrieval.index import Index
from kerasrec.schema import Schema
from kerasrec.serving.description import Description
from kerasrec.serving.index_model import IndexGraphs, export_index
from kerasrec.serving.reads import FeatureRead, features_read, target_names
from kerasrec.serving.recommender.export import export_recommender
from kerasrec.serving.recommender.recommender import Recommender
from kerasrec.serving.rows import check_path
from kerasrec.serving.signatures import input_of, traced_columns
from kerasrec.serving.write import export_on_ranks, require_tensorflow, write_saved_model
from kerasrec.tensor_names import tensor_names

if TYPE_CHECKING:
    from kerasrec.etl.workflow import Workflow

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

    An index or a next-item model has others: `kerasrec.serving.index_model`. A recommender: `ServedRecommender`.

    Every rank must call it. Rank 0 gathers the tables some 16 MiB at a time and writes the same SavedModel as one
    rank would. Weights that are not trained, such as moving means, become their mean over ranks.

    Args:
        model: a `kr.models` model, a functional Keras model of a dict of features, a `kr.retrieval.Index`, or a
            `kr.serving.Recommender`; of a retrieval model its index is exported.
        path: the SavedModel's folder.
        workflow: the fitted `Workflow` that made the features; a recommender has its own.
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
    require_tensorflow()
    check_path(path)
    if isinstance(model, Retriever):
        model = Index(model)
    other = export_recommender if isinstance(model, Recommender) else _export_model
    write = export_index if isinstance(model, Index) else other
    return write(model, Path(os.path.abspath(path)), workflow, overwrite)


def _export_model(model: Any, path: Path, workflow: Workflow | None, overwrite: bool) -> Path:
    def prepare() -> tuple[list[FeatureRead], list[str]]:
        features = None if workflow is None else workflow.output_schema
        return features_read(model, features), target_names(model, features)

    def write(prepared: tuple[list[FeatureRead], list[str]]) -> None:
        module, signatures, raw = _graphs(model, *prepared, workflow)
        description = Description.of(signatures["serving_default"], raw)
        write_saved_model(module, signatures, path, overwrite, description, raw.save)

    return export_on_ranks([model], path, overwrite, prepare, write)


def check(model: Any, workflow: Workflow | None = None) -> None:
    """Raise what `export` of the same model and workflow would, without writing: for example before a long
    training.

    It does everything but write, so an operator or a layer that cannot be exported is found as well.
    """
    require_tensorflow()
    if isinstance(model, Recommender):
        model.graph().trace()
        return
    if isinstance(model, Retriever):
        IndexGraphs(Index(model), workflow).build()
        return
    features = None if workflow is None else workflow.output_schema
    reads, names = features_read(model, features), target_names(model, features)
    if comm.size() == 1:
        _graphs(model, reads, names, workflow)


def _graphs(
    model: Any, reads: list[FeatureRead], names: list[str], workflow: Workflow | None
) -> tuple[tf.Module, dict[str, Any], Schema]:
    """Return the module to save, its signatures, and the raw columns that it reads."""
    predict = _predictor(model, reads, names)
    module = tf.Module(name="served")
    raw = Schema(read.column for read in reads)
    transformed = traced_columns(predict, raw)
    signatures = {"serving_default": transformed, "transformed": transformed}
    if workflow is not None:
        made = workflow.output_schema
        module.features = workflow.tensorflow_module(Schema(read.cast(made[read.column.name]) for read in reads))
        raw = workflow.raw_columns(read.column.name for read in reads)
        signatures["serving_default"] = traced_columns(lambda wire: predict(module.features(wire)), raw)
    return module, signatures, raw


def _predictor(model: Any, reads: list[FeatureRead], names: list[str]) -> Predict:
    tensors = tensor_names(read.column for read in reads)

    def predict(wire: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        features = {read.column.name: input_of(wire, read, tensors[read.column.name]) for read in reads}
        return by_name(model(features, training=False), names)

    return predict


def by_name(outputs: Any, names: list[str]) -> dict[str, tf.Tensor]:
    """Return a model's outputs `(batch, n)` by name."""
    if not isinstance(outputs, Mapping):
        tensors = outputs if isinstance(outputs, list | tuple) else [outputs]
        if len(tensors) != len(names):
            raise ValueError(f"the model has {len(tensors)} outputs; expected {len(names)}: {', '.join(names)}")
        outputs = dict(zip(names, tensors, strict=True))
    return {name: _column(tf.convert_to_tensor(output)) for name, output in outputs.items()}


def _column(output: tf.Tensor) -> tf.Tensor:
    return output[:, tf.newaxis] if output.shape.rank == 1 else output
