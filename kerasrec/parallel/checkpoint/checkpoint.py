"""Checkpoints: each rank writes and reads its own rows, and on disk there are tables by name.

What a table was stacked with, on how many ranks and where it lived, shows in the manifest's list of files alone:
a model under any plan on any number of ranks picks its rows out of them.
"""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras

from kerasrec.files import naming_full_disk
from kerasrec.parallel import comm
from kerasrec.parallel.checkpoint import manifest, safetensors_io
from kerasrec.parallel.checkpoint.dense_state import dense_arrays, read_dense, seed_values
from kerasrec.parallel.checkpoint.local_tables import HeldTable, tables_of
from kerasrec.parallel.checkpoint.manifest import File, Manifest, SavedTable, Shard
from kerasrec.parallel.checkpoint.reader import Reader
from kerasrec.parallel.checkpoint.safetensors_io import Array
from kerasrec.parallel.comm.data_parallel import average_weights
from kerasrec.parallel.comm.raise_on_all import raise_on_all
from kerasrec.tables.row_io import write_rows
from kerasrec.tables.variables import table_variables, untrained_weights


def save(
    path: str | os.PathLike[str], model: keras.Model, *, overwrite: bool = False, optimizer: bool = True
) -> None:
    """Save all that training goes on with: tables, dense weights, the optimizer's state, random layers' seeds.

    All ranks call it, with a path on a file system that they share. Each writes the rows it holds, some 16 MiB at
    a time; rank 0 the dense part and, last, the manifest. Weights that are not trained, such as moving means,
    become their mean over ranks, in the model too. A save that fails or is killed leaves the checkpoint that stood
    there.

    Args:
        path: the checkpoint's folder.
        model: a built model with `DistributedEmbedding` layers, at any depth.
        overwrite: whether a checkpoint that stands there is replaced.
        optimizer: whether to save the optimizer's state too; a model that is not compiled or was never trained
            has none.

    Raises:
        FileExistsError: a checkpoint is there and `overwrite` is false, something else is there, or another
            process is saving there.
        ValueError: the model has no tables or two of one name, or its optimizer is not one of `kr.optimizers`.
        OSError: a rank cannot write, or does not see the folder that rank 0 made. What one rank raises, all do.

    Example:

    >>> kr.parallel.save("run/checkpoint", model, overwrite=True)
    >>> kr.parallel.restore("run/checkpoint", model)   # on any number of ranks, under any plan
    """
    _save(Path(os.path.abspath(path)), model, overwrite, optimizer, dense=True)


def restore(path: str | os.PathLike[str], model: keras.Model, *, optimizer: bool = True) -> None:
    """Read what `save` wrote, on any number of ranks and under any plan; training goes on as if never interrupted.

    All ranks call it. Each reads its own rows; before, all files are read through and checked, each by one rank,
    and nothing is changed unless all is well on all ranks. A rank that the saving job did not have keeps the
    seeds of its random layers.

    Args:
        path: the checkpoint's folder.
        model: a built model. Where it is compiled, its optimizer's state is restored too, if it was saved.
        optimizer: False reads the weights alone, so that they can be trained on with another optimizer.

    Raises:
        FileNotFoundError: there is no checkpoint at `path`, or one of its files is gone.
        ValueError: a file that is damaged, of another save or of a later version, a table that the checkpoint
            lacks or that has another shape there, other dense weights, the state of another optimizer, or a
            checkpoint of tables alone; names the file or the table. What one rank raises, all do.
    """
    _restore(Path(path), model, optimizer, dense=True)


def save_tables(
    model: keras.Model, path: str | os.PathLike[str], *, overwrite: bool = False, optimizer: bool = True
) -> None:
    """Save every embedding table of a model, and what its optimizer keeps for each row.

    As `kr.parallel.save`, without the weights that are no tables: rows are copied some 16 MiB at a time, and a
    save that is cut off leaves what stood there.

    Args:
        model: a built model with `DistributedEmbedding` layers, at any depth.
        path: the folder to write.
        overwrite: whether a checkpoint that stands there is replaced.
        optimizer: whether to save the optimizer's state too; a model that is not compiled or was never trained
            has none.

    Raises:
        FileExistsError: a checkpoint is there and `overwrite` is false, or something else is there.
        ValueError: the model has no tables or two of one name, or its optimizer is not one of `kr.optimizers`.

    Example:

    >>> kr.save_tables(model, "run/tables")
    >>> kr.restore_tables(model, "run/tables")
    """
    _save(Path(os.path.abspath(path)), model, overwrite, optimizer, dense=False)


def restore_tables(model: keras.Model, path: str | os.PathLike[str], *, optimizer: bool = True) -> None:
    """Read a model's embedding tables, and what its optimizer keeps for each row, from a checkpoint.

    The model may have other layers, stack and place its tables in another way and have fewer of them; the rest of
    the checkpoint is then left alone. All is checked before the first row is changed. Like saving, it takes some
    16 MiB; on JAX, whose arrays cannot be changed in place, a copy of the largest stack of tables.

    Args:
        model: a built model with `DistributedEmbedding` layers, at any depth. Where it is compiled, the state of
            its optimizer is restored too, if it was saved.
        path: a folder that `save_tables` or `kr.parallel.save` wrote.
        optimizer: False reads the tables alone, so that they can be trained on with another optimizer.

    Raises:
        FileNotFoundError: there is no checkpoint at `path`, or one of its files is gone.
        ValueError: a file that is damaged, of another save or of a later version, a table that the checkpoint
            lacks or that has another shape there, or the state of another optimizer; names the file or the table.
    """
    _restore(Path(path), model, optimizer, dense=False)


def save_training(path: Path, model: keras.Model) -> None:
    """As `save`, of any model with any optimizer, and without changing what each rank keeps to itself.

    The state of an optimizer that is not of `kr.optimizers` is in the order of its variables.
    """
    _save(path, model, overwrite=False, optimizer=True, dense=True, tables_needed=False)


def restore_training(path: Path, model: keras.Model) -> None:
    """Read what `save_training` wrote."""
    _restore(path, model, optimizer=True, dense=True, tables_needed=False)


# ---- saving -------------------------------------------------------------------------------------------------
def _save(
    path: Path, model: keras.Model, overwrite: bool, optimizer: bool, dense: bool, tables_needed: bool = True
) -> None:
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    with ExitStack() as stack:
        claim = manifest.claim(path, overwrite=overwrite)
        raise_on_all(lambda: stack.enter_context(claim) if comm.rank() == 0 else None)
        _save_claimed(path, model, optimizer, dense, tables_needed)


def _save_claimed(path: Path, model: keras.Model, optimizer: bool, dense: bool, tables_needed: bool) -> None:
    def prepare() -> tuple[Any, dict[str, HeldTable]]:
        trainer = _optimizer(model, of_tables=tables_needed) if optimizer else None
        trainer = trainer if trainer is not None and trainer.built else None
        return trainer, tables_of(model, trainer, needed=tables_needed)

    trainer, tables = raise_on_all(prepare)
    if dense and tables_needed:
        average_weights(untrained_weights(model))
    mark = comm.gather_objects(uuid.uuid4().hex[:12])[0]
    seeds = comm.gather_objects(seed_values(model)) if dense else []
    folder = path / f"{manifest.FOLDER}{mark}"

    def write() -> tuple[dict[str, dict[str, Any]], dict[str, Any] | None]:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}, which rank 0 made, is not there: ranks must share the file system")
        held = {name: table for name, table in tables.items() if table.values.rows}
        stems = safetensors_io.file_stems(tables)
        needed = sum(array.bytes for table in held.values() for array in table.arrays.values())
        with naming_full_disk(path, folder, replaces=path / manifest.NAME, needed=needed):
            shards = {name: asdict(_write(folder, stems[name], table, mark)) for name, table in held.items()}
            rest = None
            if dense and comm.rank() == 0:
                file = folder / "@dense.safetensors"
                facts = safetensors_io.write(file, dense_arrays(model, trainer, seeds), mark)
                rest = asdict(File(f"{folder.name}/{file.name}", **facts))
            return shards, rest

    try:
        raise_on_all(lambda: folder.mkdir() if comm.rank() == 0 else None)
        written = comm.gather_objects(raise_on_all(write))
    except BaseException:
        if comm.rank() == 0:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    saved = {
        name: SavedTable(
            table.optimizer,
            {key: {"shape": held.whole, "dtype": held.dtype} for key, held in table.arrays.items()},
            tuple(Shard(**shards[name]) for shards, _ in written if name in shards),
        )
        for name, table in tables.items()
    }
    dense_file = written[0][1]
    facts = Manifest(mark, saved, None if dense_file is None else File(**dense_file))
    raise_on_all(lambda: facts.write(path, keras=keras.__version__) if comm.rank() == 0 else None)


def _write(folder: Path, stem: str, table: HeldTable, mark: str) -> Shard:
    values = table.values
    part = "" if values.shape == values.whole else f"@{comm.rank()}-of-{comm.size()}"
    file = folder / f"{stem}{part}.safetensors"
    arrays = {key: Array(held.shape, held.dtype, held.blocks()) for key, held in table.arrays.items()}
    rows, facts = values.rows, safetensors_io.write(file, arrays, mark)
    return Shard(
        f"{folder.name}/{file.name}", **facts, rows=(rows.start, rows.stop, rows.step), columns=values.columns
    )


# ---- restoring ----------------------------------------------------------------------------------------------
def _restore(path: Path, model: keras.Model, optimizer: bool, dense: bool, tables_needed: bool = True) -> None:
    def prepare() -> tuple[Reader, Any]:
        saved = manifest.read(path)
        if dense and saved.dense is None:
            raise ValueError(f"{path} has tables alone: read it with kr.restore_tables")
        reader = Reader(path, saved)
        trainer = _optimizer(model, of_tables=tables_needed) if optimizer else None
        has_state = any(table.optimizer for table in saved.tables.values())
        if not tables_needed:
            has_state = any(key.startswith("optimizer/") for key in reader.dense[1])
        return reader, trainer if has_state else None

    reader, trainer = raise_on_all(prepare)
    if trainer is not None and not trainer.built:
        model.optimizer.build(model.trainable_variables)  # on several ranks these start alike: all must come here
    tables = raise_on_all(lambda: reader.check(model, trainer, dense, tables_needed))

    def change() -> None:
        for table in tables.values():
            for key, held in table.arrays.items():
                write_rows(held.variable, reader.blocks(table.name, key, held))
        if dense:
            read_dense(*reader.dense, model, trainer)

    raise_on_all(change)
    for variable in table_variables(model):
        if variable.replicas is not None:
            variable.replicas.refresh_all(variable)


def _optimizer(model: keras.Model, of_tables: bool = True) -> Any:
    """What a model's tables, or the whole of a model, are trained with; None where it is not compiled."""
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # that of a LossScaleOptimizer
    if of_tables and optimizer is not None and not hasattr(optimizer, "table_slots"):
        raise ValueError(
            f"{type(optimizer).__name__} does not tell which of its state belongs to a table: use one of "
            "kr.optimizers, or pass optimizer=False to leave the state out"
        )
    return optimizer
