"""Fit a model under a progress bar, stop when held-out rows are not predicted better, and predict other rows."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import polars as pl
from keras import ops
from numpy.typing import NDArray

from kerasrec.callbacks.early_stopping import EarlyStopping, StoppingCheck
from kerasrec.cli.feature_files import rows_per_s
from kerasrec.cli.progress import Stage
from kerasrec.cli.run_report import Check
from kerasrec.cli.weights import weights_in
from kerasrec.data.loader import Loader
from kerasrec.data.weights import weights_by_target
from kerasrec.parallel import comm
from kerasrec.schema import Schema, Tag

CHECKS_PER_EPOCH = 4
EVALUATION_BATCH = 8192


@dataclass(frozen=True)
class Fitted:
    """What became of a fit.

    Args:
        checks: target -> its checks, in the order of training.
        best: the number of the check whose weights were kept.
        stopped: whether the training ended before its last epoch.
        rows_per_s: training rows per second without the first step, which traces, and the checks; None if there
            was only one step.
    """

    checks: Mapping[str, Sequence[Check]]
    best: int
    stopped: bool
    rows_per_s: float | None

    @property
    def rows(self) -> list[int]:
        """How many rows the model was trained on at each check."""
        return [check.rows for check in next(iter(self.checks.values()))]


def checks_every(steps: int) -> int:
    """Return after how many of an epoch's steps the model is checked."""
    return max(1, math.ceil(steps / CHECKS_PER_EPOCH))


def fit_model(
    model: Any, train: Loader, checked: Loader, epochs: int, patience: int, stage: Stage, tasks: Mapping[str, str]
) -> Fitted:
    """Fit a compiled model; `stage` counts rows.

    Args:
        checked: the rows to stop on; with `patience` 0, rows to draw a curve of.
        tasks: target -> "binary" or "regression".
    """
    ranks = comm.size()
    stopping = EarlyStopping(
        checked,
        every=checks_every(len(train)),
        patience=patience or 2**31,
        restore_best_weights=patience > 0,
    )
    progress = _Progress(train, stage, stopping, ranks)
    try:
        model.fit(train, epochs=epochs, verbose=0, callbacks=[progress, stopping])
    except BaseException:
        if ranks == 1:
            stopping.restore()  # what is kept is the best so far
        raise
    scales = _mean_weights(checked, list(tasks))
    checks = {
        name: [
            _check(name, task, check, progress.rows_after(check.step), len(tasks) > 1, scales[name])
            for check in checks
        ]
        for name, task in tasks.items()
        if (checks := stopping.checks)
    }
    best = stopping.best if patience and stopping.best is not None else len(stopping.checks) - 1
    return Fitted(checks, best, stopping.stopped, rows_per_s(progress.rows_timed, progress.seconds))


def predict(model: Any, folder: Path, targets: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return target -> predictions of all rows of a folder of features, in their order, on every rank."""
    loader = Loader(folder, batch_size=EVALUATION_BATCH, lists=lists_of_backend(), targets=[])
    output = model.predict(loader, verbose=0)
    by_target = output if isinstance(output, dict) else {targets[0]: output}
    if comm.size() == 1:
        return {name: np.ravel(by_target[name]) for name in targets}
    parts = comm.gather_objects({name: np.ravel(by_target[name]) for name in targets})
    return {name: np.concatenate([part[name] for part in parts]) for name in targets}


def read_labels(folder: Path) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[np.float64] | None]]:
    """Return target -> labels of all rows of a folder of features, and target -> their weights, None for 1."""
    schema = Schema.load(folder)
    names = [*schema.targets.names, *schema.select(Tag.WEIGHT).names]
    files = sorted(folder.glob("*.parquet"))
    frame = pl.scan_parquet(files, glob=False)
    columns = frame.collect_schema().names()
    values = frame.select(pl.nth([columns.index(name) for name in names])).collect(engine="streaming")
    return {name: values[name].to_numpy() for name in schema.targets.names}, weights_in(schema, values)


def lists_of_backend() -> Any:
    """Return how Keras's backend takes lists: ragged tensors are TensorFlow's alone."""
    return "ragged" if keras.backend.backend() == "tensorflow" else "padded"


class _Progress(keras.callbacks.Callback):
    """Advance the bar, show the last check beside it, and count rows and seconds."""

    def __init__(self, train: Loader, stage: Stage, stopping: EarlyStopping, ranks: int):
        super().__init__()
        self.stage, self.stopping = stage, stopping
        self.batch, self.rows_per_epoch, self.steps = train.batch_size * ranks, train.num_rows, len(train)
        self.rows_timed, self.seconds, self.steps_done, self.since = 0, 0.0, 0, 0.0

    def rows_after(self, step: int) -> int:
        """Return how many rows the model was trained on after a number of steps."""
        epochs, steps = divmod(step, self.steps)
        return epochs * self.rows_per_epoch + min(steps * self.batch, self.rows_per_epoch)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.since = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        rows = self.rows_after(self.steps_done + 1) - self.rows_after(self.steps_done)
        if self.steps_done:
            self.seconds += time.perf_counter() - self.since
            self.rows_timed += rows
        self.steps_done += 1
        self.stage.advance(rows, f"loss {float((logs or {})['loss']):.4f}{self._last_check()}")

    def _last_check(self) -> str:
        if not self.stopping.checks:
            return ""
        return f", held out {self.stopping.checks[-1].logs['loss']:.4f}"


def _check(name: str, task: str, check: StoppingCheck, rows: int, several: bool, scale: float) -> Check:
    """Return the check of one target; Keras divides a weighted loss by the rows, not by the weights."""
    loss, prefix = (f"{name}_loss", f"{name}_") if several else ("loss", "")
    trained, reached = check.train_losses[loss] / scale, check.logs[loss] / scale
    if task == "regression":
        return Check(rows, math.sqrt(max(trained, 0.0)), {"rmse": math.sqrt(max(reached, 0.0))})
    return Check(rows, trained, {"auc": check.logs[f"{prefix}auc"], "logloss": reached})


def _mean_weights(loader: Loader, targets: Sequence[str]) -> dict[str, float]:
    """Return target -> the mean weight of a loader's rows; 1 if they have none."""
    sums, rows = dict.fromkeys(targets, 0.0), 0
    if not any(weights_by_target(loader.schema, targets).values()):
        return dict.fromkeys(targets, 1.0)
    for _, _, weights in loader:
        by_target = weights if isinstance(weights, Mapping) else dict.fromkeys(targets, weights)
        for target in targets:
            sums[target] += float(ops.sum(by_target[target]))
        rows += int(by_target[targets[0]].shape[0])
    return {target: total / rows if total else 1.0 for target, total in sums.items()}
