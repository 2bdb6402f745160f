"""`save` and `load` a training as a folder; `latest` finds the last of several."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from kerasrec.checkpoint import position as positions
from kerasrec.checkpoint import rank_state
from kerasrec.checkpoint.callback_state import set_callback_states
from kerasrec.checkpoint.position import Position, Training
from kerasrec.checkpoint.random_state import set_random_state
from kerasrec.checkpoint.rank_state import RankState
from kerasrec.data.loader import Loader
from kerasrec.files import write_aside
from kerasrec.parallel import comm
from kerasrec.parallel.checkpoint import checkpoint as tables
from kerasrec.parallel.checkpoint.dense_state import dense_variables
from kerasrec.parallel.comm.raise_on_all import raise_on_all

MODEL = "model"
FILES = (positions.NAME, "rank@*.safetensors", f"{MODEL}/manifest.json", f"{MODEL}/save-*/*.safetensors")
STEP = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Loaded:
    """A checkpoint that was read: the training's position, and this rank's own state."""

    path: Path
    training: Training
    rank_state: RankState


def save(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    loader: Loader | None = None,
    batches: int | None = None,
    epoch: int | None = None,
    callbacks: Iterable[Any] = (),
    overwrite: bool = True,
) -> None:
    """Save a training so that `load` resumes it at the exact batch, to the bit.

    The folder holds the tables, each rank the rows that it has, dense weights, the optimizer's state, the seeds of
    random layers and the generators of Python, NumPy, Keras and TensorFlow, metrics, callbacks and the loader's
    position. It takes its name when it is complete: a job that is killed while it saves leaves the checkpoint that
    was there. On several ranks all of them call it, with a path on a file system that they share.

    `kr.callbacks.Checkpoint` calls it in `fit`; a loop of your own calls it between steps.

    Args:
        model: any built model; compiled, with any optimizer on one rank.
        path: the checkpoint's folder.
        loader: the `kr.Loader` that is trained on.
        batches: how many batches of the loader's current pass count as done, where they are read ahead of their
            use, as `Loader.state` takes it.
        epoch: the epoch that goes on, from 0; the loader's by default.
        callbacks: those whose state is to be saved: `EarlyStopping`, `ReduceLROnPlateau`, `ModelCheckpoint`,
            `History`, and your own that have `state()` and `restore(state)`.
        overwrite: whether a checkpoint at `path` is replaced.

    Raises:
        FileExistsError: something is at `path` that is not a checkpoint, or `overwrite` is false.
        OSError: a rank cannot write. What one rank raises, all do.

    Example:

    >>> for features, target in train:
    ...     model.train_on_batch(features, target)
    ...     if int(model.optimizer.iterations) % 500 == 0:
    ...         kr.checkpoint.save(model, "checkpoint", loader=train)
    """
    state = None if loader is None else loader.state(batches)
    optimizer = getattr(model, "optimizer", None)
    at = Position(
        step=0 if optimizer is None else int(optimizer.iterations),
        epoch=(0 if state is None else state["epoch"]) if epoch is None else epoch,
        batch=0 if state is None else state["batches"],
    )
    save_at(model, Path(path), at, state, None if loader is None else len(loader), None, callbacks, overwrite)


def save_at(
    model: keras.Model,
    path: Path,
    at: Position,
    loader: dict[str, Any] | None,
    batches: int | None,
    validation_epoch: int | None,
    callbacks: Iterable[Any],
    overwrite: bool = True,
) -> None:
    """Save a training at the position `at`; `loader` is its loader's state."""
    ranks, rank = comm.size(), comm.rank()
    with ExitStack() as stack:
        aside = raise_on_all(
            lambda: (
                str(stack.enter_context(write_aside(path, overwrite=overwrite, files=FILES)))
                if rank == 0
                else None
            )
        )
        aside, mark = comm.gather_objects([aside, uuid.uuid4().hex[:12]])[0]
        folder = Path(aside)
        tables.save_training(folder / MODEL, model)
        state = RankState.of(model, callbacks)
        written = raise_on_all(lambda: state.write(folder / _name(rank, ranks), mark))
        files = comm.gather_objects(written)
        training = Training(mark, ranks, at, batches, loader, validation_epoch, files)
        raise_on_all(lambda: training.write(folder, keras=keras.__version__) if rank == 0 else None)
        raise_on_all(stack.close)


def load(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    loader: Loader | None = None,
    callbacks: Iterable[Any] = (),
) -> Position:
    """Read what `save` wrote; training then continues as if it had never been interrupted.

    Everything is checked before anything is changed. On several ranks all of them call it. Another number of ranks
    than saved it can resume where an epoch ended, not in the middle of one.

    Args:
        model: a built model. Compile it first for its optimizer's state to be read.
        path: a folder that `save` wrote, or that `kr.callbacks.Checkpoint` did, of which the latest is read.
        loader: the loader that is trained on; its next pass begins where the saved one was. None leaves the
            position out.
        callbacks: as `save` was given them.

    Returns:
        The training's position.

    Raises:
        FileNotFoundError: `path` is not a checkpoint, or one of its files is gone.
        ValueError: a file that is damaged, or a checkpoint of another model, optimizer, loader or, in the middle
            of an epoch, number of ranks; says which. What one rank raises, all do.

    Example:

    >>> at = kr.checkpoint.load(model, "checkpoint", loader=train)
    >>> for features, target in train:  # what is left of that epoch
    ...     model.train_on_batch(features, target)
    """
    folder = find(path)
    if folder is None:
        raise FileNotFoundError(f"{path} is not a checkpoint and has none in it")
    loaded = load_at(model, folder, loader, of_fit=False)
    if loaded.training.position.batch:
        prepare_metrics(model, loader, len(loaded.rank_state.metrics))
        loaded.rank_state.set_metrics(model)
    set_callback_states(callbacks, loaded.rank_state.callbacks)
    set_random_state(loaded.rank_state.random)
    return loaded.training.position


def load_at(model: keras.Model, path: Path, loader: Loader | None, *, of_fit: bool = True) -> Loaded:
    """Read a checkpoint's weights, optimizer, seeds and loader; return what is to be set later."""
    ranks, rank = comm.size(), comm.rank()

    def prepare() -> tuple[Training, RankState]:
        training = positions.read(path)
        if training.position.batch and training.ranks != ranks:
            raise ValueError(
                f"{path} was saved by {training.ranks} ranks in the middle of an epoch, and this job has {ranks}: "
                f"start {training.ranks}, or go on from an epoch's end (kr.callbacks.Checkpoint(every='epoch'))"
            )
        whose = rank if training.ranks == ranks else 0
        size_and_checksum = training.files[whose]
        file = path / _name(whose, training.ranks)
        own_state = rank_state.read(file, training.save, size_and_checksum["bytes"], size_and_checksum["crc32"])
        if training.ranks != ranks:
            own_state = own_state.on_other_ranks(path)
        if training.position.batch and training.loader is not None and loader is None and of_fit:
            raise ValueError(
                f"{path} was saved in the middle of an epoch of a kr.Loader: fit that, or pass loader="
            )
        if loader is not None:
            _restore(loader, training, path)
        return training, own_state

    training, own_state = raise_on_all(prepare)
    tables.restore_training(path / MODEL, model)
    own_state.set_weights(model)
    return Loaded(path, training, own_state)


def latest(folder: str | os.PathLike[str]) -> Path | None:
    """Return the latest checkpoint that `kr.callbacks.Checkpoint(folder)` saved; None where there is none."""
    numbers = saved_in(Path(folder))
    return numbers[max(numbers)] if numbers else None


def saved_in(folder: Path) -> dict[int, Path]:
    """Return the complete checkpoints in a callback's folder, by step."""
    if not folder.is_dir():
        return {}
    paths = ((STEP.fullmatch(name), folder / name) for name in os.listdir(folder))
    return {int(match[1]): path for match, path in paths if match and (path / positions.NAME).is_file()}


def find(path: str | os.PathLike[str]) -> Path | None:
    """Return the checkpoint at or in `path` that rank 0 sees; None where there is none."""
    here = Path(os.path.abspath(path))

    def search() -> str | None:
        if comm.rank():
            return None
        folder = here if (here / positions.NAME).is_file() else latest(here)
        return None if folder is None else str(folder)

    folder = comm.gather_objects(raise_on_all(search))[0]
    return None if folder is None else Path(folder)


def prepare_metrics(model: keras.Model, loader: Loader | None, count: int) -> None:
    """Have a model's metrics create their `count` variables, as they do for their first batch; they stay at 0."""
    if len(model.metrics_variables) == count or loader is None:
        return
    x, y, weight = keras.utils.unpack_x_y_sample_weight(loader.peek())
    answer = model(x, training=False)
    model.compute_loss(x=x, y=y, y_pred=answer, sample_weight=weight, training=False)
    model.compute_metrics(x=x, y=y, y_pred=answer, sample_weight=weight)
    model.reset_metrics()


def learning_rates(model: keras.Model) -> list[Any]:
    """Return the variables of learning rates, if not schedules, of an optimizer and those within it."""
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if optimizer is None or not optimizer.built:
        return []
    variables = dense_variables(model, optimizer).values()
    return [variable for variable in variables if variable.name == "learning_rate"]


def _restore(loader: Loader, training: Training, path: Path) -> None:
    """Set a loader to where it was saved. Raises `ValueError` for one that the checkpoint does not fit."""
    if training.loader is None:
        return
    if training.position.batch and training.batches != len(loader):
        raise ValueError(
            f"{path} was saved in the middle of an epoch of {training.batches:,} batches, but the loader's has "
            f"{len(loader):,}"
        )
    try:
        loader.restore(training.loader)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _name(rank: int, ranks: int) -> str:
    return f"rank@{rank}-of-{ranks}.safetensors"
