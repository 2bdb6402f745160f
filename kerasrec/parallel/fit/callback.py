"""`Callback`: what `fit` needs to be one training on several ranks."""

from __future__ import annotations

import inspect
import os
from typing import Any

import keras

from kerasrec._keras import validation_batches
from kerasrec.parallel import comm
from kerasrec.parallel.comm.data_parallel import settle, start_alike
from kerasrec.parallel.fit import fingerprint
from kerasrec.parallel.fit.model import check_loss, check_optimizer, join
from kerasrec.parallel.fit.rank_check import check_alike, code
from kerasrec.parallel.fit.watchdog import Watchdog
from kerasrec.tables.variables import dense_weights, untrained_weights

RANK_0_ONLY = (keras.callbacks.TensorBoard, keras.callbacks.CSVLogger, keras.callbacks.RemoteMonitor)
STEP_LIMIT = 1800.0


class Callback(keras.callbacks.Callback):
    """Makes `fit`, `evaluate` and `predict` of a `keras.Model` one job on all ranks; on one rank it does nothing.

    `kr.models` add it themselves. A model of your own around `DistributedEmbedding` needs it as the **first** of
    its callbacks, in `fit` and in an `evaluate` before any `fit`. Then, on several ranks:

    - **Metrics and losses are global**: `logs` of batches and epochs, of validation, and what `evaluate` returns
      are of all ranks' rows and equal on every rank, so `EarlyStopping`, `ReduceLROnPlateau` and the like decide
      alike. States of metrics are added up over ranks, in one message a step; a metric that says its state is no
      sum is refused, one that is not Keras's is warned of.
    - **Only rank 0 speaks**: the others show no progress and none of Keras's messages (interactive logging is off
      there). `TensorBoard`, `CSVLogger` and `RemoteMonitor` run on rank 0 alone.
    - **Only rank 0 writes** what `model.save` and `save_weights` save, as `ModelCheckpoint` does. Every rank must
      call them, since tables are gathered on rank 0. The file has whole tables, is complete on return and loads on
      any number of ranks; it is written aside and takes its name last.
    - **All start alike**: dense weights begin as rank 0's. What must be equal is compared first: code, plan,
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
        ValueError: (several ranks) an optimizer that is not of `kr.optimizers`, a loss that is not a mean over the
            batch's rows, a metric whose state is no sum, a callback that cannot work there, a place behind other
            callbacks, or a backend other than TensorFlow.
        RanksDiffer: (several ranks) ranks differ in what must be equal; names what, the ranks and the values.

    Example:

    >>> model.fit(train, callbacks=[kr.parallel.Callback(), keras.callbacks.EarlyStopping("val_loss")])

    Source: what Horovod's `BroadcastGlobalVariablesCallback` and `MetricAverageCallback` are for. The latter
    averages results, which is not the metric of all rows: not for unequal batches, and not for AUC.
    """

    async_safe = True  # Keras's own callbacks may go on running beside the steps

    def __init__(self, step_limit: float | None = STEP_LIMIT):
        super().__init__()
        self._watchdog = None if step_limit is None else Watchdog(step_limit)
        self._training = False

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self._training = False
        if comm.size() == 1:
            return
        if keras.backend.backend() != "tensorflow":
            raise ValueError(
                f"several ranks need Keras's TensorFlow backend, this is {keras.backend.backend()}: "
                "start one process, or set KERAS_BACKEND=tensorflow"
            )
        _arrange_others(self)
        check_optimizer(getattr(model, "optimizer", None), f"model {model.name!r}")
        check_loss(getattr(model, "loss", None), f"model {model.name!r}")
        if comm.rank():
            keras.utils.disable_interactive_logging()
        join(model)

    # ---- what begins -----------------------------------------------------------------------------------------
    def on_train_begin(self, logs: Any = None) -> None:
        if comm.size() == 1:
            return
        self._compare("fit", epochs=self.params.get("epochs"), **fingerprint.of_model(self.model))
        start_alike(dense_weights(self.model))
        self._training = True
        if self._watchdog is not None:
            self._watchdog.start()

    def on_test_begin(self, logs: Any = None) -> None:
        if comm.size() == 1:
            return
        validation = validation_batches(self.model) if self._training else None
        if validation is not None:
            self._compare("validation", validation)
        else:
            self._compare("evaluate")
        settle(untrained_weights(self.model))

    def on_predict_begin(self, logs: Any = None) -> None:
        self._compare("predict")

    def on_train_end(self, logs: Any = None) -> None:
        self._training = False
        if self._watchdog is not None:
            self._watchdog.stop()

    def _compare(self, where: str, batches: int | None = None, **more: Any) -> None:
        if comm.size() > 1:
            batches = self.params.get("steps") if batches is None else batches
            check_alike(where, {"code": code(), "batches": batches, **more})

    # ---- on the way ------------------------------------------------------------------------------------------
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._alive()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._alive()

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._alive()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        settle(untrained_weights(self.model))
        self._alive()

    def _alive(self) -> None:
        if self._watchdog is not None:
            self._watchdog.alive()


def with_ranks(callbacks: Any) -> Any:
    """Callbacks as `fit` takes them, with a `Callback` in front where there are several ranks."""
    if comm.size() == 1 or isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    given = keras.tree.flatten(callbacks) if callbacks else []
    ours = [each for each in given if isinstance(each, Callback)] or [Callback()]
    return [*ours, *(each for each in given if not isinstance(each, Callback))]


def _arrange_others(ours: Callback) -> None:
    """Check the callbacks that stand behind `ours`, and take those out that only rank 0 runs.

    Keras tells a callback nothing of the others, so their list is found where `set_model` is called from: it is
    being gone through there, and what comes later can still be taken out.
    """
    frame: Any = inspect.currentframe()
    caller = frame.f_back.f_back.f_locals.get("self")
    if not isinstance(caller, keras.callbacks.CallbackList):
        return
    if caller.callbacks[0] is not ours:
        raise ValueError("on several ranks kr.parallel.Callback() must be the first of the callbacks")
    for each in caller.callbacks:
        _check(each)
    if comm.rank():
        caller.callbacks[:] = [each for each in caller.callbacks if not isinstance(each, RANK_0_ONLY)]


def _check(callback: Any) -> None:
    if getattr(callback, "embeddings_freq", 0):
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
