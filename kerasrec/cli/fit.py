"""Fit a model under a progress bar, and score it on held-out rows from time to time."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasrec import models, optimizers
from kerasrec.cli.feature_files import rows_per_s
from kerasrec.cli.progress import Stage
from kerasrec.cli.run_report import Check
from kerasrec.cli.scores import score
from kerasrec.cli.text_table import METRIC_NAMES
from kerasrec.data.loader import Loader
from kerasrec.schema import Schema

CHECKS = 10  # about as many over all epochs; there is one at the end of each epoch


@dataclass(frozen=True)
class Trained:
    """The result of a fit: the checks in order, the last one's predictions, and training rows per second.

    The rate leaves out the first step, which traces, and the checks; None if there was only one step.
    """

    checks: list[Check]
    labels: NDArray[Any]
    predictions: NDArray[Any]
    rows_per_s: float | None

    @property
    def scores(self) -> dict[str, float]:
        """The scores of the last check."""
        return dict(self.checks[-1].scores)


def make_model(name: str, schema: Schema, embedding_dim: int) -> Any:
    """Return a model of modest size; the target's tag decides what it predicts."""
    if name == "dlrm":
        bottom = [64, embedding_dim]
        return models.DLRM(schema, embedding_dim=embedding_dim, bottom_units=bottom, top_units=[128, 64])
    architecture = {"dcn": models.DCN, "deepfm": models.DeepFM, "wide-and-deep": models.WideAndDeep}[name]
    return architecture(schema, embedding_dim=embedding_dim, deep_units=[128, 64])


def make_optimizer(learning_rate: float, steps: int) -> Any:
    """Return Adagrad with a learning rate that falls to a tenth over `steps`, so that the last steps are small."""
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps, alpha=0.1)
    return optimizers.Adagrad(schedule)


def fit(model: Any, train: Loader, valid: Loader, epochs: int, stage: Stage) -> Trained:
    """Fit a compiled `model`; `stage` counts rows."""
    checks = _Checks(model, train, valid, epochs, stage)
    model.fit(train, epochs=epochs, verbose=0, callbacks=[checks])
    return Trained(checks.checks, checks.labels, checks.predictions, rows_per_s(checks.rows_timed, checks.seconds))


class _Checks(keras.callbacks.Callback):
    """Advance the bar, and score the model on the held-out rows."""

    def __init__(self, model: Any, train: Loader, valid: Loader, epochs: int, stage: Stage):
        super().__init__()
        self.task, self.valid, self.stage = model.task, valid, stage
        self.every = -(-epochs * len(train) // CHECKS)
        self.batch_size, self.rows_an_epoch, self.steps = train.batch_size, train.num_rows, len(train)
        self.labels = np.concatenate([target for _, target in valid])
        self.predictions = np.zeros_like(self.labels)
        self.checks: list[Check] = []
        self.rows = self.rows_timed = self.steps_done = 0
        self.seconds = self.loss_until = 0.0
        self.since: float | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.loss_until, self.steps_done = 0.0, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        now = time.perf_counter()
        rows = min(self.batch_size, self.rows_an_epoch - batch * self.batch_size)
        self.rows += rows
        if self.since is not None:
            self.seconds, self.rows_timed = self.seconds + now - self.since, self.rows_timed + rows
        self.stage.advance(rows, f"loss {logs['loss']:.3f}{self._last_score()}")
        if (batch + 1) % self.every == 0 or batch + 1 == self.steps:
            self._check(batch + 1, logs["loss"])
        self.since = time.perf_counter()

    def _check(self, steps: int, mean_loss: float) -> None:
        """Score the model; `mean_loss` is over the epoch so far, the check has the loss since the last one."""
        self.predictions = self.model.predict(self.valid, verbose=0)
        total = mean_loss * steps
        recent = (total - self.loss_until) / (steps - self.steps_done)
        self.loss_until, self.steps_done = total, steps
        if self.task == "regression":
            recent = math.sqrt(recent)
        self.checks.append(Check(self.rows, recent, score(self.task, self.labels, self.predictions)))

    def _last_score(self) -> str:
        if not self.checks:
            return ""
        name, value = next(iter(self.checks[-1].scores.items()))
        return f", held out {METRIC_NAMES[name]} {value:.4f}"
