"""Writing a SavedModel: never over something else, and with errors that say what the disk said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import keras
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from kerasrec.files import check_target, write_aside
from kerasrec.layers.embedding.full_tables import full_tables_on_rank_0
from kerasrec.parallel import comm
from kerasrec.parallel.comm.data_parallel import average_weights
from kerasrec.parallel.comm.raise_on_all import raise_on_all
from kerasrec.serving.description import Description
from kerasrec.serving.rows import EXTRA, FILES
from kerasrec.serving.signatures import distinct
from kerasrec.tables.variables import untrained_weights

Prepared = TypeVar("Prepared")


def require_tensorflow() -> None:
    """Raise `RuntimeError` where Keras does not run on TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"SavedModel export requires the TensorFlow backend of Keras; this is {keras.backend.backend()}"
        )


def export_on_ranks(
    models: Sequence[Any],
    path: Path,
    overwrite: bool,
    prepare: Callable[[], Prepared],
    write: Callable[[Prepared], None],
) -> Path:
    """Write a SavedModel on rank 0, with the tables of all ranks, and return its path.

    Args:
        models: with the tables.
        path: the SavedModel's folder.
        overwrite: whether one that is there is replaced.
        prepare: called on all ranks, to raise what is wrong before anything is sent.
        write: called on rank 0 with its result.
    """

    def check() -> Prepared:
        if comm.rank() == 0:
            refuse_to_overwrite(path, overwrite)
        return prepare()

    prepared = raise_on_all(check)
    with ExitStack() as stack:
        for model in models:
            average_weights(untrained_weights(model))
            stack.enter_context(full_tables_on_rank_0(model))
        raise_on_all(lambda: write(prepared) if comm.rank() == 0 else None)
    return path


def write_saved_model(
    module: tf.Module,
    signatures: dict[str, Any],
    path: Path,
    overwrite: bool,
    description: Description,
    write_extra: Callable[[Path], object],
) -> None:
    """Write a SavedModel, and beside it its description and what `write_extra` writes into a folder of its own."""
    # The module must refer to everything that a loaded signature reads. Of the model that is its variables but
    # not its layers, so that loading does not need Keras.
    module.variables_read = distinct(v for concrete in signatures.values() for v in concrete.graph.variables)
    with write_aside(path, overwrite=overwrite, files=FILES) as aside, disk_errors(path):
        save(module, aside, signatures)
        extra = aside / EXTRA
        extra.mkdir()
        description.write(extra)
        write_extra(extra)


def save(module: Any, path: Path, signatures: Any) -> None:
    """Save a module for predictions, without functions for gradients: those of our layers read their own graph."""
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(path), signatures=signatures, options=options)
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    for graph in saved.meta_graphs:
        # TensorFlow would warn of each name of a gradient that is not there.
        for function in graph.graph_def.library.function:
            for node in function.node_def:
                node.attr.pop("_gradient_op_type", None)
        _name_tables(graph.graph_def.node)
    (path / "saved_model.pb").write_bytes(saved.SerializeToString(deterministic=True))


def _name_tables(nodes: Iterable[Any]) -> None:
    """Give lookup tables names where a session runs the graph, as TensorFlow Serving does.

    Each run of a session would make a new and empty table of an anonymous one, in which all ids are unknown.
    `tf.saved_model.load` makes tables by functions, where they stay anonymous, for there a process shares names.
    """
    for node in nodes:
        if node.op == "AnonymousMutableHashTable":
            node.op = "MutableHashTableV2"
            node.attr["shared_name"].s = node.name.encode()


def refuse_to_overwrite(path: Path, overwrite: bool) -> None:
    """Raise `FileExistsError` for a path where something else than a SavedModel to be replaced is."""
    check_target(path, overwrite=overwrite, files=FILES)
    if (
        path.exists()
        and not (path / "saved_model.pb").exists()
        and not (path.is_dir() and not any(path.iterdir()))
    ):
        raise FileExistsError(f"{path} exists and is not a SavedModel, so it is not overwritten")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn TensorFlow's errors of writing into `OSError`."""
    try:
        yield
    except tf.errors.OpError as error:
        reason = (error.message or str(error)).strip().splitlines()[0]
        raise OSError(f"could not write the SavedModel {path}: {reason}") from error
