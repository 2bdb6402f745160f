"""Checkpoints: each rank writes and reads its own rows, and the files have tables by their names.

How tables were stacked and which ranks owned them shows only in the manifest's list of files, so a model under any
plan, on any number of ranks, reads its rows out of them.
"""

from __future__ import annotations

import os
import shutil
import uuid
import warnings
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import keras

from kerasrec.files import naming_full_disk
from kerasrec.parallel import comm
from kerasrec.parallel.checkpoint import manifest, safetensors_io
from kerasrec.parallel.checkpoint.dense_state import dense_arrays, read_dense, seed_values
from kerasrec.parallel.checkpoint.local_tables import LocalTable, TableStateOptimizer, local_tables
from kerasrec.parallel.checkpoint.manifest import File, Manifest, SavedTable, ShardFile
from kerasrec.parallel.checkpoint.reader import Reader
from kerasrec.parallel.checkpoint.safetensors_io import Array
from kerasrec.parallel.comm.data_parallel import average_weights
from kerasrec.parallel.comm.raise_on_all import raise_on_all
from kerasrec.tables.row_io import write_rows
from kerasrec.tables.variables import table_variables, untrained_weights
from kerasrec.typing import Optimizer

Fields: TypeAlias = dict[str, Any]  # of a `File`, as ranks send them to each other


def save(
    model: keras.Model, path: str | os.PathLike[str], *, overwrite: bool = False, optimizer: bool = True
) -> None:
    """Save what training needs to continue: tables, dense weights, optimizer state and random layers' seeds.

    Every rank must call it, with a path on a file system that all ranks share. Each writes the rows it owns, some
    16 MiB at a time; rank 0 writes the dense weights and, last, the manifest. Weights that are not trained, such
    as moving means, become their mean over ranks, in the model as well. A save that fails or is killed leaves the
    earlier checkpoint as it was.

    Args:
        model: a built model with `DistributedEmbedding` layers, at any depth.
        path: the checkpoint's folder.
        overwrite: whether to replace a checkpoint at `path`.
        optimizer: whether to save the optimizer's state as well. A model that is not compiled or was never
            trained has none.

    Raises:
        FileExistsError: `path` has a checkpoint and `overwrite` is false, or it has other files, or another
            process is saving to it.
        ValueError: the model has no tables or two with the same name, or an optimizer that is not of
            `kr.optimizers`.
        OSError: a rank cannot write, or does not see the folder that rank 0 made. An error on one rank is raised
            on all.

    Example:

    >>> kr.parallel.save(model, "run/checkpoint", overwrite=True)
    >>> kr.parallel.restore(model, "run/checkpoint")   # on any number of ranks, under any plan
    """
    model, path = _model_first("save", model, path)
    _save(Path(os.path.abspath(path)), model, overwrite, optimizer, dense=True)


def restore(model: keras.Model, path: str | os.PathLike[str], *, optimizer: bool = True) -> None:
    """Read what `save` wrote, on any number of ranks and under any plan, and continue as if never interrupted.

    Every rank must call it, and reads its own rows. Before that all files are read through and checked, each by
    one rank; nothing is changed unless every check passes on every rank. A rank that the saving job did not have
    keeps the seeds of its random layers.

    Args:
        model: a built model. If it is compiled and the checkpoint has optimizer state, that is restored as well.
        path: the checkpoint's folder.
        optimizer: False restores the weights alone, to train them with another optimizer.

    Raises:
        FileNotFoundError: there is no checkpoint at `path`, or one of its files is missing.
        ValueError: a file that is damaged, of another save or of a later version; a table that the checkpoint
            lacks or that has another shape in it; other dense weights; the state of another optimizer; or a
            checkpoint of tables alone. Names the file or the table. An error on one rank is raised on all.
    """
    model, path = _model_first("restore", model, path)
    _restore(Path(path), model, optimizer, dense=True)


def save_tables(
    model: keras.Model, path: str | os.PathLike[str], *, overwrite: bool = False, optimizer: bool = True
) -> None:
    """Save every embedding table of a model, and what its optimizer keeps for each row.

    Like `kr.parallel.save` without the dense weights: rows are copied some 16 MiB at a time, and an interrupted
    save leaves the earlier checkpoint as it was.

    Args:
        model: a built model with `DistributedEmbedding` layers, at any depth.
        path: the folder to write.
        overwrite: whether to replace a checkpoint at `path`.
        optimizer: whether to save the optimizer's state as well. A model that is not compiled or was never
            trained has none.

    Raises:
        FileExistsError: `path` has a checkpoint and `overwrite` is false, or it has other files.
        ValueError: the model has no tables or two with the same name, or an optimizer that is not of
            `kr.optimizers`.

    Example:

    >>> kr.save_tables(model, "run/tables")
    >>> kr.restore_tables(model, "run/tables")
    """
    _save(Path(os.path.abspath(path)), model, overwrite, optimizer, dense=False)


def restore_tables(model: keras.Model, path: str | os.PathLike[str], *, optimizer: bool = True) -> None:
    """Read a model's embedding tables, and what its optimizer keeps for each row, from a checkpoint.

    The model may have other layers, fewer tables, and another plan. Everything is checked before the first row is
    changed. Like saving, it takes some 16 MiB of memory; on JAX, whose arrays cannot be changed in place, a copy
    of the largest stack of tables.

    Args:
        model: a built model with `DistributedEmbedding` layers, at any depth. If it is compiled and the
            checkpoint has optimizer state, that is restored as well.
        path: a folder that `save_tables` or `kr.parallel.save` wrote.
        optimizer: False restores the tables alone, to train them with another optimizer.

    Raises:
        FileNotFoundError: there is no checkpoint at `path`, or one of its files is missing.
        ValueError: a file that is damaged, of another save or of a later version; a table that the checkpoint
            lacks or that has another shape in it; or the state of another optimizer. Names the file or the table.
    """
    _restore(Path(path), model, optimizer, dense=False)


def save_training(path: Path, model: keras.Model) -> None:
    """Save any model with any optimizer, without averaging what each rank keeps to itself.

    The state of an optimizer that is not of `kr.optimizers` is saved in the order of its variables.
    """
    _save(path, model, overwrite=False, optimizer=True, dense=True, tables_required=False)


def restore_training(path: Path, model: keras.Model) -> None:
    """Read what `save_training` wrote."""
    _restore(path, model, optimizer=True, dense=True, tables_required=False)


def _model_first(function: str, model: Any, path: Any) -> tuple[keras.Model, str | os.PathLike[str]]:
    """Return a model and a path that may have come in the order of 0.1, path first."""
    if not isinstance(model, str | os.PathLike):
        return model, path
    warnings.warn(
        f"kr.parallel.{function}(path, model) is kr.parallel.{function}(model, path) now; the old order will go",
        DeprecationWarning,
        stacklevel=3,
    )
    return path, model


# ---- saving -------------------------------------------------------------------------------------------------
def _save(
    path: Path, model: keras.Model, overwrite: bool, optimizer: bool, dense: bool, tables_required: bool = True
) -> None:
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    with ExitStack() as stack:
        claim = manifest.claim(path, overwrite=overwrite)
        raise_on_all(lambda: stack.enter_context(claim) if comm.rank() == 0 else None)
        _save_claimed(path, model, optimizer, dense, tables_required)


def _save_claimed(path: Path, model: keras.Model, optimizer: bool, dense: bool, tables_required: bool) -> None:
    def prepare() -> tuple[Optimizer | None, dict[str, LocalTable]]:
        trainer = _optimizer_of(model, stateful=tables_required) if optimizer else None
        trainer = trainer if trainer is not None and trainer.built else None
        return trainer, local_tables(model, trainer, required=tables_required)

    trainer, tables = raise_on_all(prepare)
    if dense and tables_required:
        average_weights(untrained_weights(model))
    mark = comm.gather_objects(uuid.uuid4().hex[:12])[0]
    seeds = comm.gather_objects(seed_values(model)) if dense else []
    folder = path / f"{manifest.FOLDER}{mark}"

    def write() -> tuple[dict[str, Fields], Fields | None]:
        rest = dense_arrays(model, trainer, seeds) if dense and comm.rank() == 0 else None
        return _write_files(folder, mark, tables, rest)

    try:
        raise_on_all(lambda: folder.mkdir() if comm.rank() == 0 else None)
        files = comm.gather_objects(raise_on_all(write))
    except BaseException:
        if comm.rank() == 0:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    saved_tables = {
        name: _saved_table(table, [shards[name] for shards, _ in files if name in shards])
        for name, table in tables.items()
    }
    dense_file = files[0][1]
    saved = Manifest(mark, saved_tables, None if dense_file is None else File(**dense_file))
    raise_on_all(lambda: saved.write(path, keras=keras.__version__) if comm.rank() == 0 else None)


def _write_files(
    folder: Path, mark: str, tables: dict[str, LocalTable], dense: dict[str, Array] | None
) -> tuple[dict[str, Fields], Fields | None]:
    """Write this rank's shards and, if any, the dense file; return the fields of each table's `ShardFile`, and of
    the dense `File`."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}, which rank 0 made, is not there; ranks must share the file system")
    shards = {name: table for name, table in tables.items() if table.values.rows}
    stems = safetensors_io.file_stems(tables)
    needed = sum(array.bytes for table in shards.values() for array in table.arrays.values())
    with naming_full_disk(folder.parent, folder, replaces=folder.parent / manifest.NAME, needed=needed):
        written = {name: asdict(_write_shard(folder, stems[name], table, mark)) for name, table in shards.items()}
        if dense is None:
            return written, None
        file = folder / "@dense.safetensors"
        sizes = safetensors_io.write(file, dense, mark)
        return written, asdict(File(f"{folder.name}/{file.name}", **sizes))


def _write_shard(folder: Path, stem: str, table: LocalTable, mark: str) -> ShardFile:
    values = table.values
    part = "" if values.shape == values.full_shape else f"@{comm.rank()}-of-{comm.size()}"
    file = folder / f"{stem}{part}.safetensors"
    arrays = {key: Array(array.shape, array.dtype, array.blocks()) for key, array in table.arrays.items()}
    rows, sizes = values.rows, safetensors_io.write(file, arrays, mark)
    return ShardFile(
        f"{folder.name}/{file.name}", **sizes, rows=(rows.start, rows.stop, rows.step), columns=values.columns
    )


def _saved_table(table: LocalTable, files: list[Fields]) -> SavedTable:
    arrays = {key: {"shape": array.full_shape, "dtype": array.dtype} for key, array in table.arrays.items()}
    return SavedTable(table.optimizer, arrays, tuple(ShardFile(**fields) for fields in files))


# ---- restoring ----------------------------------------------------------------------------------------------
def _restore(path: Path, model: keras.Model, optimizer: bool, dense: bool, tables_required: bool = True) -> None:
    def prepare() -> tuple[Reader, Optimizer | None]:
        saved = manifest.read(path)
        if dense and saved.dense is None:
            raise ValueError(f"{path} has tables alone; read it with kr.restore_tables")
        reader = Reader(path, saved)
        trainer = _optimizer_of(model, stateful=tables_required) if optimizer else None
        has_state = any(table.optimizer for table in saved.tables.values())
        if not tables_required:
            has_state = any(key.startswith("optimizer/") for key in reader.dense[1])
        return reader, trainer if has_state else None

    reader, trainer = raise_on_all(prepare)
    if trainer is not None and not trainer.built:
        model.optimizer.build(model.trainable_variables)  # on several ranks a collective: every rank gets here
    tables = raise_on_all(lambda: reader.check(model, trainer, dense, tables_required))

    def change() -> None:
        for table in tables.values():
            for key, array in table.arrays.items():
                write_rows(array.variable, reader.blocks(table.name, key, array))
        if dense:
            read_dense(*reader.dense, model, trainer)

    raise_on_all(change)
    for variable in table_variables(model):
        if variable.replicas is not None:
            variable.replicas.refresh_all(variable)


def _optimizer_of(model: keras.Model, stateful: bool = True) -> Optimizer | None:
    """Return the optimizer of a model, without a `LossScaleOptimizer` around it; None if it is not compiled.

    With `stateful` it must be one that says which of its state belongs to a table.
    """
    optimizer = getattr(model, "optimizer", None)
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    if stateful and optimizer is not None and not isinstance(optimizer, TableStateOptimizer):
        raise ValueError(
            f"the state of {type(optimizer).__name__} cannot be saved or restored by table; use an optimizer of "
            "kr.optimizers, or pass optimizer=False to leave its state out"
        )
    return optimizer
