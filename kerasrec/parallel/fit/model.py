"""What a Keras model must do otherwise when it is one of several ranks' copies."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from types import MethodType
from typing import Any

import keras

from kerasrec._keras import output_losses
from kerasrec.parallel import comm
from kerasrec.parallel.checkpoint.model_files import save_model_aside, save_weights_aside
from kerasrec.parallel.comm.data_parallel import settle
from kerasrec.parallel.fit.metrics import global_results
from kerasrec.tables.variables import untrained_weights


def join(model: Any) -> None:
    """Make a model's metrics global, weigh its steps by the rows of each rank's batch, and let rank 0 alone write
    its files; with one rank, leave it as it is.

    `save` and `save_weights` remain what every rank must call, since tables are gathered on rank 0; the file is
    complete when they return, on every rank, and until then what stood there is untouched.
    """
    if comm.size() == 1 or "get_metrics_result" in vars(model):
        return
    from kerasrec.parallel.comm.batch_share import fit_step

    model.get_metrics_result = MethodType(global_results, model)
    model.train_step = _counting_rows(model, model.train_step, fit_step)
    model.test_step = _counting_rows(model, model.test_step, nullcontext)
    model.save = _rank_0_writes(model, model.save, save_model_aside)
    model.save_weights = _rank_0_writes(model, model.save_weights, save_weights_aside)
    if getattr(model, "compiled", False):
        model.jit_compile = False  # XLA has no operations of Horovod's
        model.train_function = model.test_function = None  # traced before, they have their own rank's metrics


def check_optimizer(optimizer: Any, of: str) -> None:
    """Raise `ValueError` for an optimizer that would let ranks drift apart."""
    if comm.size() == 1 or optimizer is None or getattr(optimizer, "averages_over_ranks", False):
        return
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise ValueError(
            f"{of}: mixed_float16 scales the loss by what one rank's gradients overflow, so {comm.size()} ranks "
            "would part; use mixed_bfloat16, or compile(auto_scale_loss=False)"
        )
    raise ValueError(
        f"{of} is compiled with {type(optimizer).__module__}.{type(optimizer).__name__}, which knows nothing of "
        f"ranks: each of the {comm.size()} would train on its own gradients and their weights would drift apart. "
        "Use one of kr.optimizers (SGD, Adagrad, RowwiseAdagrad, Adam, AdamW, Ftrl, Multi), which average them"
    )


def check_loss(loss: Any, of: str) -> None:
    """Raise `ValueError` for a loss that is no mean over rows: only such means make up the global one."""
    if comm.size() == 1:
        return
    for each in keras.tree.flatten(loss):
        reduction = getattr(each, "reduction", "mean")
        if reduction not in ("mean", "sum_over_batch_size"):
            raise ValueError(
                f"{of} is compiled with {type(each).__name__}(reduction={reduction!r}), which {comm.size()} ranks "
                "cannot put together: they weigh their losses and gradients by rows. Use the default reduction, "
                "whose weighted losses are divided by the number of rows"
            )


def _counting_rows(model: Any, step: Callable[..., Any], within: Callable[[Any], Any]) -> Any:
    """A step that knows the rows of its batch: it runs `within` a context of so many."""

    def counted(data: Any) -> Any:
        first = next(each for each in keras.tree.flatten(data) if each is not None)
        rows = first.nrows() if hasattr(first, "nrows") else keras.ops.shape(first)[0]
        for metric in output_losses(model):
            metric.update_state = _by_rows(metric, rows)
        with within(rows):
            return step(data)

    return counted


def _by_rows(metric: Any, rows: Any) -> Callable[..., Any]:
    """An output's loss as the mean over rows, as the whole loss is; Keras takes that over batches of any size."""

    def update_state(value: Any, sample_weight: Any = None) -> Any:
        return type(metric).update_state(metric, value, sample_weight=rows)

    return update_state


def _rank_0_writes(model: Any, save: Callable[..., Any], save_aside: Callable[..., Any]) -> Callable[..., Any]:
    def only_rank_0_writes(filepath: Any, overwrite: bool = True, *args: Any, **kwargs: Any) -> None:
        named = isinstance(filepath, str | os.PathLike)
        name = os.path.basename(str(filepath)) if named else "model.keras"
        if name.endswith((".h5", ".hdf5")) and not name.endswith(".weights.h5"):
            raise ValueError(
                f"{name!r}: Keras's old HDF5 format would hold only this rank's rows of the tables; "
                "save as .keras, or weights as .weights.h5"
            )
        settle(untrained_weights(model))
        if comm.rank():  # it takes part in gathering the tables; its own file has none
            with tempfile.TemporaryDirectory(prefix="kerasrec-") as folder:
                save(os.path.join(folder, name), True, *args, **kwargs)
        else:
            if not overwrite and named and os.path.exists(filepath):
                raise FileExistsError(
                    f"{filepath} exists, and {comm.size()} ranks cannot ask whether to overwrite it"
                )
            save_aside(save, filepath, True, *args, **kwargs)
        comm.barrier()

    return only_rank_0_writes
