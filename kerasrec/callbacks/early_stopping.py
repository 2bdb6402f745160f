"""`EarlyStopping`: stop when held-out data is not predicted better any more, looking several times per epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class StoppingCheck:
    """What one check of `EarlyStopping` found.

    Args:
        step: how many batches the model was trained on, over all epochs.
        train_losses: the mean training loss since the check before, "loss"; with several targets also each one's.
        logs: loss and metrics of the held-out data, as `evaluate` returns them.
    """

    step: int
    train_losses: Mapping[str, float]
    logs: Mapping[str, float]


class EarlyStopping(keras.callbacks.Callback):
    """Evaluate held-out data several times per epoch, stop when it gets no better, and restore the best weights.

    Keras's `EarlyStopping` looks once per epoch. Models with large embedding tables often predict best within the
    first or second epoch, before they overfit the ids, so that one look per epoch finds a worse model, or
    none. The metrics of the epoch go on as if there had been no check.

    On several ranks every rank adds the callback; figures are of all ranks' rows, so that all decide the same.

    Args:
        data: what `evaluate` takes, such as a `kr.Loader`.
        every: batches between two checks; None is a quarter of an epoch. There is always one at an epoch's end.
        patience: how many checks in a row without improvement end the training.
        monitor: which of the figures of `evaluate` to look at.
        mode: "min" or "max", which is better.
        min_delta: by how much a figure must be better to count.
        restore_best_weights: whether the model ends with the weights of the best check. They are kept in memory.

    Attributes:
        checks: a `StoppingCheck` for each check.
        best: the number of the best one in `checks`; None before the first.
        stopped: whether the training ended early.

    Raises:
        ValueError: `patience` or `every` is less than 1, or another mode; (in fit) no such figure as `monitor`.

    Example:

    >>> stopping = kr.callbacks.EarlyStopping(kr.Loader("valid/", batch_size=8192), patience=4)
    >>> model.fit(train, epochs=10, callbacks=[stopping])
    >>> stopping.checks[stopping.best]
    """

    def __init__(
        self,
        data: Any,
        *,
        every: int | None = None,
        patience: int = 4,
        monitor: str = "loss",
        mode: str = "min",
        min_delta: float = 0.0,
        restore_best_weights: bool = True,
    ):
        super().__init__()
        for name, value in (("patience", patience), ("every", every)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be an integer >= 1; got {value!r}")
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max'; got {mode!r}")
        self.data, self.every, self.patience = data, every, patience
        self.monitor, self.sign, self.min_delta = monitor, 1.0 if mode == "min" else -1.0, min_delta
        self.restore_best_weights = restore_best_weights
        self.checks: list[StoppingCheck] = []
        self.best: int | None = None
        self.stopped = False
        self._weights: list[NDArray[Any]] | None = None

    # ---- Keras's own ---------------------------------------------------------------------------------------
    def on_train_begin(self, logs: Any = None) -> None:
        self.checks, self.best, self.stopped, self._weights = [], None, False, None
        self._step = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._loss_sums: dict[str, float] = {}
        self._checked = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._step += 1
        steps = self.params.get("steps")
        every = self.every or (max(1, math.ceil(steps / 4)) if steps else None)
        if every is not None and ((batch + 1) % every == 0 or batch + 1 == steps):
            self._check(batch + 1, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not self.params.get("steps") and not self.stopped:
            self._check(1, logs)  # without a number of steps, once per epoch

    def on_train_end(self, logs: Any = None) -> None:
        self.restore()

    def restore(self) -> None:
        """Give the model the weights of the best check; `fit` does so at its end, but not if it is interrupted."""
        if self.restore_best_weights and self._weights is not None and self.best != len(self.checks) - 1:
            for variable, value in zip(self.model.variables, self._weights, strict=True):
                variable.assign(value)
        self._weights = None

    # ---- the check -----------------------------------------------------------------------------------------
    def _check(self, steps: int, train_logs: Mapping[str, float]) -> None:
        """Evaluate; `train_logs` are means over the first `steps` of this epoch."""
        sums = {name: float(mean) * steps for name, mean in train_logs.items() if name.endswith("loss")}
        since = max(1, steps - self._checked)
        recent = {name: (total - self._loss_sums.get(name, 0.0)) / since for name, total in sums.items()}
        self._loss_sums, self._checked = sums, steps
        logs = self._evaluate()
        if self.monitor not in logs:
            raise ValueError(f"monitor: evaluate returns no {self.monitor!r}; available: {', '.join(logs)}")
        self.checks.append(StoppingCheck(self._step, recent, logs))
        value = self.sign * logs[self.monitor]
        least = math.inf if self.best is None else self.sign * self.checks[self.best].logs[self.monitor]
        if value < least - (self.min_delta if self.best is not None else 0.0):
            self.best = len(self.checks) - 1
            if self.restore_best_weights:
                self._weights = [np.array(variable) for variable in self.model.variables]
        elif self.best is None or len(self.checks) - 1 - self.best >= self.patience:
            self.stopped = self.model.stop_training = True

    def _evaluate(self) -> dict[str, float]:
        """Evaluate, and leave the metrics of the training as they are: `evaluate` resets them."""
        variables = self.model.metrics_variables
        before = [np.array(variable) for variable in variables]
        logs = self.model.evaluate(self.data, verbose=0, return_dict=True)
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
        return {name: float(value) for name, value in logs.items()}
