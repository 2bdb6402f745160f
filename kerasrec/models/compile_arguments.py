"""The arguments of a model's `compile`: those of its tasks where none are given, and one of each per target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import keras

from kerasrec.metrics import AUC, Calibration, GroupAUC, LogLoss, NormalizedEntropy
from kerasrec.models.heads import Heads, Task, check_targets
from kerasrec.optimizers import Adagrad, LossScaleOptimizer
from kerasrec.optimizers.by_name import get
from kerasrec.typing import Optimizer

Loss: TypeAlias = str | keras.losses.Loss | Callable[..., Any] | None
Metric: TypeAlias = str | keras.metrics.Metric | Callable[..., Any]
Metrics: TypeAlias = Sequence[Metric] | Mapping[str, Metric | Sequence[Metric]] | None
OptimizerOrName: TypeAlias = str | Mapping[str, Any] | Optimizer | None

_LOSSES: dict[Task, str] = {"binary": "binary_crossentropy", "regression": "mse"}
_METRICS: dict[Task, str] = {"binary": "auc", "regression": "rmse"}
# Keras numbers the names of metrics that it makes from a string: a second "auc" of a process would be "auc_1".
_BY_NAME: dict[str, type[keras.metrics.Metric]] = {
    "auc": keras.metrics.AUC,
    "calibration": Calibration,
    "logloss": LogLoss,
    "normalized_entropy": NormalizedEntropy,
    "precision": keras.metrics.Precision,
    "recall": keras.metrics.Recall,
    "rmse": keras.metrics.RootMeanSquaredError,
}
_FEW_ROWS = 5_000
_OF_PROBABILITIES = (
    keras.metrics.AUC,
    keras.metrics.Precision,
    keras.metrics.Recall,
    AUC,
    GroupAUC,
    Calibration,
    LogLoss,
    NormalizedEntropy,
)


def resolve_optimizer(given: OptimizerOrName, scale_loss: bool) -> Optimizer:
    """Return the optimizer to compile with: Adagrad by default, this package's for a name that it has."""
    optimizer = Adagrad(dense_factor=0.4) if given is None else get(given)
    if scale_loss and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return LossScaleOptimizer(optimizer)
    return optimizer


def suit_to_rows(optimizer: Optimizer, rows: int) -> None:
    """Make the optimizer that `compile` chose itself gentler where there are few rows to learn from.

    Below 5,000 rows the rate of tables and of dense weights is 0.02 and accumulators of dense weights begin at
    0.003: at the usual rates the first epoch learns such rows by heart.
    """
    adagrad = optimizer.inner_optimizer if isinstance(optimizer, LossScaleOptimizer) else optimizer
    if rows < _FEW_ROWS and isinstance(adagrad, Adagrad) and not adagrad.built:
        adagrad.learning_rate, adagrad.dense_factor, adagrad.dense_accumulator = 0.02, 1.0, 0.003


def resolve_losses(heads: Heads, given: Any) -> Any:
    """Return the loss of one target, or a dict of several by target; where none is given, that of the task.

    Raises `ValueError` for a list by output, an unknown target, or a binary loss of a regression target.
    """
    defaults = {name: _LOSSES[task] for name, task in heads.tasks.items()}
    losses = _by_target("loss", heads, given, defaults)
    for name, task in heads.tasks.items():
        for loss in keras.tree.flatten(losses[name]):
            _check_loss(name, task, loss)
    return losses if len(losses) > 1 else losses[heads.targets[0]]


def resolve_loss_weights(heads: Heads, given: Any) -> Any:
    """Return the weights of losses: as given for one target, a dict of several in which those left out are 1."""
    if given is None:
        return None
    weights = _by_target("loss_weights", heads, given, dict.fromkeys(heads.targets, 1.0))
    return weights if len(weights) > 1 else weights[heads.targets[0]]


def default_metrics(heads: Heads) -> dict[str, list[str]]:
    """Return the metric of each target's task."""
    return {name: [_METRICS[task]] for name, task in heads.tasks.items()}


def resolve_metrics(argument: str, heads: Heads, given: Any) -> Any:
    """Return metrics as Keras takes them: a list for one target, a dict of lists by target for several.

    A list is for every target. Raises `ValueError` for an unknown target, or a metric that does not fit one.
    """
    if not given:
        return given
    several = len(heads.targets) > 1
    if not isinstance(given, Mapping):
        metrics = list(given) if isinstance(given, list | tuple) else [given]
        if several and any(isinstance(metric, list | tuple | Mapping) for metric in metrics):
            raise ValueError(
                f"{argument}: pass a dict by target, {{{heads.targets[0]!r}: [...]}}, or one list for all"
            )
        given = {name: [_copy(metric) if several else metric for metric in metrics] for name in heads.targets}
    check_targets(argument, given, heads.targets)
    resolved = {name: [_metric(m) for m in keras.tree.flatten(metrics)] for name, metrics in given.items()}
    for name, metrics in resolved.items():
        _check_metrics(argument, name, heads.tasks[name], metrics)
    return resolved if several else [metric for metrics in resolved.values() for metric in metrics]


def _by_target(argument: str, heads: Heads, given: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    """Return an argument by target: one for all, or a dict in which those left out have the default."""
    if given is None:
        return defaults
    if isinstance(given, Mapping) and "class_name" not in given:  # Keras's serialised form is a dict as well
        check_targets(argument, given, heads.targets)
        return {**defaults, **given}
    if isinstance(given, list | tuple) and len(heads.targets) > 1:
        raise ValueError(
            f"{argument}: pass a dict by target, {{{heads.targets[0]!r}: ...}}, or one for all; got a list"
        )
    return dict.fromkeys(heads.targets, given)


def _check_loss(target: str, task: Task, loss: Any) -> None:
    name = loss if isinstance(loss, str) else getattr(loss, "name", None) or getattr(loss, "__name__", "")
    if task == "regression" and (str(name).lower() == "bce" or str(name).lower().startswith("binary")):
        raise ValueError(
            f"loss {name!r} needs a target of 0 and 1, but {target!r} is a regression target here; "
            "make it one with etl.Target(threshold=...), or use a loss such as 'mse'"
        )


def _check_metrics(argument: str, target: str, task: Task, metrics: Sequence[Any]) -> None:
    for metric in metrics:
        if task == "regression" and isinstance(metric, _OF_PROBABILITIES):
            raise ValueError(
                f"{argument}: {type(metric).__name__} needs a target of 0 and 1, but {target!r} is a regression "
                f"target; use 'rmse' or 'mae', by target where there are several: {{{target!r}: ['rmse']}}"
            )


def _metric(given: Any) -> Any:
    cls = _BY_NAME.get(given.lower()) if isinstance(given, str) else None
    return given if cls is None else cls(name=given.lower())


def _copy(metric: Any) -> Any:
    """Return a metric of the same configuration: each target counts in its own."""
    return type(metric).from_config(metric.get_config()) if isinstance(metric, keras.metrics.Metric) else metric
