"""`Checkpoint`: a `fit` that is run again resumes where it was interrupted."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras

from kerasrec._keras import set_first_epoch
from kerasrec.callbacks.progress import report
from kerasrec.checkpoint import training as checkpoint
from kerasrec.checkpoint.callback_state import set_callback_states, warn_of_unknown
from kerasrec.checkpoint.position import NAME, Position, Training
from kerasrec.checkpoint.random_state import set_random_state
from kerasrec.data.loader import Loader
from kerasrec.data.loader_of import loader_of
from kerasrec.parallel import comm
from kerasrec.parallel.fit.data_callback import DataCallback


class _EpochIsOver:
    """The value of `stop_training` that ends an epoch which began in its middle; others set it to True."""


class Checkpoint(DataCallback):
    """Saves a training every few batches, and resumes it at the exact batch when `fit` is run again.

    The script stays as it is. Run again, by hand or by `kerasrec run`, `fit` finds the latest checkpoint in
    `folder`, prints its path, continues after the last batch that was saved and trains the remaining epochs.
    Weights, optimizer and metrics are then equal, to the bit, to those of a training that was never interrupted.
    When all epochs are done a last checkpoint records that, and running the script again trains no more: remove
    the folder to start anew.

    What is saved: tables, each rank its own rows, dense weights, the optimizer's state, the seeds of random
    layers, the generators of Python, NumPy, Keras and TensorFlow, metrics in mid-epoch, the loader's position, the
    history, and the state of `EarlyStopping`, `ReduceLROnPlateau` and `ModelCheckpoint`. A callback of your own is
    included if it has `state()`, which returns a dict, and `restore(state)`. A checkpoint takes its name when it
    is complete, and older ones are removed after that; a job that is killed at any moment leaves the previous one.

    On several ranks every rank saves and reads its part, in a folder that they share. The same number of ranks can
    resume in the middle of an epoch; any number where an epoch ended.

    `fit` of `kr.models` and `kr.parallel.Model` gives it the loaders and the other callbacks, and puts it last.
    With a plain `keras.Model`, pass these and put it last yourself.

    **Limits.** In the epoch that is resumed, callbacks count batches from 0 again, and `on_epoch_begin` is called
    a second time. `CSVLogger` needs `append=True`. Draws of `tf.random` operations in a compiled step cannot be
    saved; those of `keras.random` are. `steps_per_epoch` is not supported: use `train.take(steps)`.

    Args:
        folder: where the checkpoints are; one folder for each `fit`.
        every: the number of batches between two checkpoints, counted over all epochs, or "epoch". One that is due
            after the last batch of an epoch is saved when the epoch has ended, with its validation. At the end of
            `fit` one is always saved.
        keep: how many checkpoints are kept, the latest ones.
        loader: what a plain `keras.Model` is trained on. Without a loader `every` must be "epoch".
        validation: the loader of a plain `keras.Model`'s validation data, if that is shuffled.
        callbacks: the other callbacks of a plain `keras.Model` whose state is to be saved.

    Raises:
        ValueError: (in `fit`) the checkpoint is of another model, optimizer or loader, is damaged, or was saved in
            the middle of an epoch by another number of ranks; or the loader is not known.

    Example:

    >>> model.fit(train, epochs=3, callbacks=[kr.callbacks.Checkpoint("checkpoints/", every=500)])
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: int | str = "epoch",
        keep: int = 2,
        *,
        loader: Loader | None = None,
        validation: Loader | None = None,
        callbacks: Iterable[Any] = (),
    ):
        super().__init__()
        if every != "epoch" and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
            raise ValueError(f'every must be a number of batches >= 1, or "epoch"; got {every!r}')
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise ValueError(f"keep must be an integer >= 1; got {keep!r}")
        self.folder, self.every, self.keep = Path(os.path.abspath(folder)), every, keep
        self.loader, self.validation, self.callbacks = loader, validation, list(callbacks)
        self._given = loader, validation
        self._epoch_is_over = _EpochIsOver()
        self._logs: dict[int, dict[str, Any]] = {}  # of the epochs that are done

    def set_data(self, data: Any, validation_data: Any, callbacks: Iterable[keras.callbacks.Callback]) -> None:
        self.loader = loader_of(data) or self._given[0]
        self.validation = loader_of(validation_data) or self._given[1]
        self.callbacks = list(callbacks)

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._fitted = model  # `self.model` would have JAX copy its state back in every step

    # ---- resuming --------------------------------------------------------------------------------------------
    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._check_data()
        if comm.rank() == 0:
            warn_of_unknown(self._others())
        self._step = self._epoch = self._first = self._done = 0
        self._due = self._interrupted = False
        self._next: Any = None  # the loader's state when this epoch has ended
        self._loaded: checkpoint.Loaded | None = None
        latest = checkpoint.find(self.folder)
        if latest is not None:
            self._resume(latest)

    def _resume(self, path: Path) -> None:
        loaded = self._loaded = checkpoint.load_at(self.model, path, self.loader)
        at, own_state = loaded.training.position, loaded.rank_state
        self._step, self._first = at.step, at.batch
        if self.validation is not None and loaded.training.validation_epoch is not None:
            self.validation.epoch = loaded.training.validation_epoch
        if at.batch:
            checkpoint.prepare_metrics(self.model, self.loader, len(own_state.metrics))
        set_random_state(own_state.random)
        self._rates = [(rate, rate.numpy()) for rate in checkpoint.learning_rates(self.model)]
        epochs = self.params["epochs"]
        ended = at.stopped or at.epoch >= epochs
        set_first_epoch(self.model, epochs if ended else at.epoch)
        if comm.rank() == 0:
            print(_message(path, loaded.training, epochs, ended), flush=True)
        report(self.folder, self._step)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._epoch, self._done = epoch, self._first
        set_first_epoch(self._fitted, None)  # it was for this fit alone
        if self._loaded is not None:
            self._restore_callbacks(self._loaded)
        if not self._first:
            self._loaded = None

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._loaded is None:
            return
        # In the middle of an epoch: its beginning has changed some values a second time; they are set as saved.
        own_state, self._loaded = self._loaded.rank_state, None
        own_state.set_metrics(self.model)
        for rate, value in self._rates:
            rate.assign(value)
        set_random_state(own_state.random)

    # ---- saving ----------------------------------------------------------------------------------------------
    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        before = self._done
        self._done = min(self._first + batch + 1, self._batches or sys.maxsize)
        step, self._step = self._step, self._step + self._done - before
        due = isinstance(self.every, int) and step // self.every < self._step // self.every
        if self._done == self._batches:
            self._due, self._next = due, self._state()  # saved when the epoch has ended
            if self._first and not self._fitted.stop_training:
                self._fitted.stop_training = self._epoch_is_over
            return
        self._interrupted = bool(self._fitted.stop_training)
        if self.loader is not None and (due or self._interrupted):
            self._save(Position(self._step, self._epoch, self._done), self._state())

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._fitted.stop_training is self._epoch_is_over:
            self._fitted.stop_training = False
        if self._interrupted:
            return
        self._logs[epoch] = dict(logs or {})
        self._first = self._done = 0
        ends = self._fitted.stop_training or epoch + 1 == self.params["epochs"]  # on_train_end saves then
        if (self._due or self.every == "epoch") and not ends:
            self._save(Position(self._step, epoch + 1), self._next)
        self._due = False

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        if self._loaded is not None:  # no epoch was left
            self._restore_callbacks(self._loaded)
            set_first_epoch(self._fitted, None)
        elif not self._interrupted:
            stopped = bool(self._fitted.stop_training)
            self._save(Position(self._step, self._epoch + 1, finished=True, stopped=stopped), self._next)

    def _save(self, at: Position, loader: dict[str, Any] | None) -> None:
        path = self.folder / f"step-{at.step:08d}"
        epoch = None if self.validation is None else self.validation.epoch
        checkpoint.save_at(self.model, path, at, loader, self._batches, epoch, self._others())
        if comm.rank() == 0:
            _remove_all_but(self.keep, self.folder)
        report(self.folder, self._step)

    def _state(self) -> dict[str, Any] | None:
        """Return the loader's state after the batches of this epoch that are done; None without a loader."""
        return None if self.loader is None else self.loader.state(self._done - self._first)

    # ---- what it is fitted with ------------------------------------------------------------------------------
    def state(self) -> dict[str, Any]:
        """Return the history of the epochs that are done: Keras's `History` learns of one after this callback."""
        return {"epochs": list(self._logs), "logs": list(self._logs.values())}

    def restore(self, state: dict[str, Any]) -> None:
        """Give the history back, to the `History` that `fit` returns as well."""
        self._logs = dict(zip(state["epochs"], state["logs"], strict=True))
        history = getattr(self._fitted, "history", None)
        if history is not None:
            history.epoch, history.history = list(self._logs), {}
            for logs in self._logs.values():
                for name, value in logs.items():
                    history.history.setdefault(name, []).append(value)

    def _others(self) -> list[Any]:
        """Return the callbacks whose state is saved, this one among them."""
        aside = (Checkpoint, keras.callbacks.History)
        return [*(each for each in self.callbacks if not isinstance(each, aside)), self]

    def _restore_callbacks(self, loaded: checkpoint.Loaded) -> None:
        set_callback_states(self._others(), loaded.rank_state.callbacks)

    def _check_data(self) -> None:
        self._batches: int | None = self.params.get("steps")
        if self.loader is None:
            if self.every != "epoch":
                raise ValueError(
                    "kr.callbacks.Checkpoint needs fit's kr.Loader to save in the middle of an epoch: "
                    'fit kr.models or a kr.parallel.Model on one, pass loader=train, or choose every="epoch"'
                )
            return
        if len(self.loader) != self._batches:
            raise ValueError(
                f"fit trains on {self._batches} batches per epoch, but the loader of kr.callbacks.Checkpoint has "
                f"{len(self.loader):,}; in place of steps_per_epoch=n, fit train.take(n)"
            )
        several = self._fitted.steps_per_execution
        if several > 1 and len(self.loader) % several:
            raise ValueError(
                f"steps_per_execution={several} does not divide the {len(self.loader):,} batches of an epoch; "
                f"kr.callbacks.Checkpoint needs that: fit train.take({len(self.loader) // several * several})"
            )


def _message(path: Path, training: Training, epochs: int, ended: bool) -> str:
    at = training.position
    if ended:
        why = " by a callback" if at.stopped else ""
        return f"{path}: training had ended{why} after epoch {at.epoch}; remove {path.parent} to train anew"
    where = f"after batch {at.batch:,} of {training.batches:,}" if at.batch else "from its beginning"
    return f"{path}: going on with epoch {at.epoch + 1} of {epochs}, {where}"


def _remove_all_but(keep: int, folder: Path) -> None:
    """Remove older checkpoints; without its first file a folder is not a checkpoint any more."""
    saved = checkpoint.saved_in(folder)
    for step in sorted(saved)[:-keep]:
        with suppress(OSError):
            (saved[step] / NAME).unlink()
        shutil.rmtree(saved[step], ignore_errors=True)
