"""`RankSteps`: what the steps of a Keras model do, and its files hold, on several ranks."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import keras

from kerasrec._keras import compiled_metrics, step_function, use_loss_by_rows
from kerasrec.parallel import comm
from kerasrec.parallel.checkpoint.model_files import save_model_aside, save_weights_aside
from kerasrec.parallel.fit.metrics import global_results
from kerasrec.parallel.fit.model_files import save_on_ranks
from kerasrec.parallel.fit.rank_metric import rank_metrics
from kerasrec.typing import Tensor

# A mixin: what it calls on `super()` is the Keras model that it is put before.
_Model: Any = keras.Model if TYPE_CHECKING else object


class RankSteps(_Model):
    """Put before `keras.Model`, it makes steps, metrics and files those of all ranks together.

    - A training step knows the rows of its batch, so gradients count by each rank's share of the global batch.
    - Metrics and losses are of all ranks' rows.
    - Rank 0 alone writes what `save` and `save_weights` save, which all ranks must call since tables are gathered
      on rank 0. A file takes its name when it is complete; until then what was there is untouched.

    On one rank only the last sentence changes anything.
    """

    train_function: Any
    jit_compile: Any

    def make_train_function(self, force: bool = False) -> Any:
        if comm.size() == 1:
            return super().make_train_function(force)
        if self.train_function is None or force:
            self._prepare_steps()
            self.train_function = step_function(self, self._train_step_on_ranks)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Any:
        if comm.size() > 1:
            self._prepare_steps()
        return super().make_test_function(force)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Tensor]:
        """Keras's, for a step: where an exact value is dear, the metric returns its estimate."""
        with ExitStack() as contexts:
            for metric in rank_metrics(compiled_metrics(self)):
                contexts.enter_context(metric.results_of(step=True))
            return super().compute_metrics(x, y, y_pred, sample_weight)

    def get_metrics_result(self) -> dict[str, Tensor]:
        return super().get_metrics_result() if comm.size() == 1 else global_results(self.metrics)

    def save(self, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
        """Keras's `save`, written beside `filepath`, which keeps what it has until that is complete."""
        save_on_ranks(self, super().save, save_model_aside, filepath, overwrite, zipped=zipped, **kwargs)

    def save_weights(self, filepath: Any, overwrite: bool = True, max_shard_size: float | None = None) -> None:
        """Keras's `save_weights`, written beside `filepath`, which keeps what it has until that is complete."""
        options = {"max_shard_size": max_shard_size}
        save_on_ranks(self, super().save_weights, save_weights_aside, filepath, overwrite, **options)

    def _train_step_on_ranks(self, data: Any) -> dict[str, Tensor]:
        from kerasrec.parallel.comm.batch_share import (
            fit_step,  # it imports TensorFlow, which one rank may not have
        )

        with fit_step(rows_of(data)):
            return self.train_step(data)

    def _prepare_steps(self) -> None:
        """Leave out XLA, which has no operations of Horovod's, and make the losses of outputs means over rows."""
        if self.jit_compile:
            self.jit_compile = False
        use_loss_by_rows(self)


def rows_of(batch: Any) -> Tensor:
    """Return how many rows a batch has, of any nesting of dense and ragged TensorFlow tensors."""
    import tensorflow as tf

    first = next(value for value in keras.tree.flatten(batch) if value is not None)
    return first.nrows() if isinstance(first, tf.RaggedTensor) else keras.ops.shape(first)[0]
