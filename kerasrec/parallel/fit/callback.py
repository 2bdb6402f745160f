"""`Callback`: what `fit` needs to be one training on several ranks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeAlias

import keras

from kerasrec._keras import validation_batches
from kerasrec.parallel import comm
from kerasrec.parallel.comm.data_parallel import average_weights, broadcast_weights
from kerasrec.parallel.fit import fingerprint
from kerasrec.parallel.fit.checks import check_trainer
from kerasrec.parallel.fit.rank_check import check_same_on_ranks, code_fingerprint
from kerasrec.parallel.fit.watchdog import Watchdog
from kerasrec.tables.variables import dense_weights, untrained_weights

RANK_0_ONLY = (keras.callbacks.TensorBoard, keras.callbacks.CSVLogger, keras.callbacks.RemoteMonitor)
STEP_LIMIT = 1800.0

Logs: TypeAlias = Mapping[str, Any] | None


class Callback(keras.callbacks.Callback):
    """What makes `fit`, `evaluate` and `predict` one job on all ranks; on one rank it does nothing.

    `kr.models` and `kr.parallel.Model` add it themselves, as the first of their callbacks. Pass one to set its
    `step_limit`. On several ranks:

    - **Metrics and losses are global**: `logs` of batches and epochs, of validation, and what `evaluate` returns
      are of all ranks' rows and equal on every rank, so `EarlyStopping`, `ReduceLROnPlateau` and the like decide
      the same on each. States of metrics are added up over ranks, in one message per step; a metric that says its
      state is not a sum is refused, one that is not Keras's is warned of.
    - **Only rank 0 prints**: the others show no progress and none of Keras's messages (interactive logging is off
      there). `TensorBoard`, `CSVLogger` and `RemoteMonitor` run on rank 0 alone.
    - **Only rank 0 writes** what `model.save` and `save_weights` save, as `ModelCheckpoint` does. Every rank must
      call them, since tables are gathered on rank 0. The file has full tables, is complete on return and loads on
      any number of ranks; it is written aside and takes its name last.
    - **All start the same**: dense weights begin as rank 0's. What must be equal is compared first: code, plan,
      layers, loss, metrics, optimizer, epochs, number of batches (`kr.models` add the schema and what the loaders
      deal).
    - **Weights that are not trained**, such as the moving averages of `BatchNormalization`, follow each rank's own
      rows; before validation, at an epoch's end and where they are saved they become their mean over ranks.
    - **A stuck rank ends the job**: one that begins no step of training or validation for `step_limit` seconds
      prints where it stands and ends.

    A callback of your own runs on every rank and must decide the same on each, as it does by `logs`. `predict`
    gives each rank the predictions for its own rows. Every rank needs the same number of batches and in each at
    least one row, as `kr.Loader` deals them: Keras's loss of an empty batch is NaN.

    Args:
        step_limit: seconds; longer than the longest step, the first one with its tracing, or the longest save
            between two. None never ends a rank.

    Raises:
        ValueError: (several ranks) a model that is not a `kr.parallel.Model` or of `kr.models`, an optimizer that
            is not of `kr.optimizers`, a loss that is not a mean over the batch's rows, a metric whose state is not
            a sum, a callback that cannot work there, or a backend other than TensorFlow.
        RanksDiffer: (several ranks) ranks differ in what must be equal; names what, the ranks and the values.

    Example:

    >>> model.fit(train, callbacks=[kr.parallel.Callback(step_limit=7200)])

    Source: what Horovod's `BroadcastGlobalVariablesCallback` and `MetricAverageCallback` are for. The latter
    averages results, which is not the metric of all rows: not for unequal batches, and not for AUC.
    """

    async_safe = True  # Keras's own callbacks may go on running beside the steps

    def __init__(self, step_limit: float | None = STEP_LIMIT):
        super().__init__()
        self._watchdog = None if step_limit is None else Watchdog(step_limit)
        self._training = False

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._training = False
        if comm.size() == 1:
            return
        if keras.backend.backend() != "tensorflow":
            raise ValueError(
                f"several ranks need Keras's TensorFlow backend; this is {keras.backend.backend()}. "
                "Start one process, or set KERAS_BACKEND=tensorflow"
            )
        check_trainer(model)
        if comm.rank():
            keras.utils.disable_interactive_logging()

    # ---- what begins -----------------------------------------------------------------------------------------
    def on_train_begin(self, logs: Logs = None) -> None:
        if comm.size() == 1:
            return
        self._compare("fit", epochs=self.params.get("epochs"), **fingerprint.of_model(self.model))
        broadcast_weights(dense_weights(self.model))
        self._training = True
        if self._watchdog is not None:
            self._watchdog.start()

    def on_test_begin(self, logs: Logs = None) -> None:
        if comm.size() == 1:
            return
        batches = validation_batches(self.model) if self._training else None
        if batches is not None:
            self._compare("validation", batches)
        else:
            self._compare("evaluate")
        average_weights(untrained_weights(self.model))

    def on_predict_begin(self, logs: Logs = None) -> None:
        self._compare("predict")

    def on_train_end(self, logs: Logs = None) -> None:
        self._training = False
        self.stop_watchdog()

    def stop_watchdog(self) -> None:
        """Watch no longer: `fit` has ended, by itself or by an error."""
        if self._watchdog is not None:
            self._watchdog.stop()

    def _compare(self, where: str, batches: int | None = None, **more: Any) -> None:
        if comm.size() > 1:
            batches = self.params.get("steps") if batches is None else batches
            check_same_on_ranks(where, {"code": code_fingerprint(), "batches": batches, **more})

    # ---- on the way ------------------------------------------------------------------------------------------
    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._alive()

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._alive()

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._alive()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        average_weights(untrained_weights(self.model))
        self._alive()

    def _alive(self) -> None:
        if self._watchdog is not None:
            self._watchdog.alive()


def callbacks_on_ranks(callbacks: Any) -> Any:
    """Return callbacks as `fit` takes them, with a `Callback` first, and on rank 0 alone those that only it runs.

    Raises:
        ValueError: a callback that cannot work on several ranks, or a `CallbackList` without a `Callback`.
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):
        if not any(isinstance(callback, Callback) for callback in callbacks.callbacks):
            raise ValueError(
                "on several ranks pass callbacks as a list, not as a keras.callbacks.CallbackList: "
                "kr.parallel.Callback comes first"
            )
        return callbacks  # that of the `fit` which evaluates its validation data
    given = keras.tree.flatten(callbacks) if callbacks else []
    ours = [callback for callback in given if isinstance(callback, Callback)] or [Callback()]
    others = [callback for callback in given if not isinstance(callback, Callback)]
    for callback in others:
        _check(callback)
    return [*ours, *(callback for callback in others if not (comm.rank() and isinstance(callback, RANK_0_ONLY)))]


def _check(callback: keras.callbacks.Callback) -> None:
    if isinstance(callback, keras.callbacks.TensorBoard) and callback.embeddings_freq:
        raise ValueError(
            "TensorBoard(embeddings_freq=...) saves weights on rank 0 alone, which cannot: "
            "tables are on several ranks; use ModelCheckpoint"
        )
    if isinstance(callback, keras.callbacks.BackupAndRestore):
        raise ValueError("BackupAndRestore would have every rank move the same files; use ModelCheckpoint")
    if isinstance(callback, keras.callbacks.ModelCheckpoint) and "://" not in callback.filepath:
        folder = os.path.dirname(callback.filepath)
        if "{" in folder:
            raise ValueError(
                f"ModelCheckpoint({callback.filepath!r}): several ranks would make its folders at once; "
                "let only the file's name have {...}"
            )
        os.makedirs(folder or ".", exist_ok=True)  # Keras makes it too, and fails where another rank just has
