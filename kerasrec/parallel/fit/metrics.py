"""Metrics of all ranks' rows, out of what each rank has counted."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack

import keras

from kerasrec.parallel import comm
from kerasrec.parallel.fit.rank_metric import RankMetric, rank_metrics, single_metrics
from kerasrec.typing import Tensor

KNOWN_MODULES = ("keras.", "keras_rs.", "kerasrec.")


def results_of(metrics: Sequence[keras.metrics.Metric]) -> dict[str, Tensor]:
    """Return the results of metrics by name, on several ranks for the rows of all."""
    return {m.name: m.result() for m in metrics} if comm.size() == 1 else global_results(metrics)


def global_results(metrics: Sequence[keras.metrics.Metric]) -> dict[str, Tensor]:
    """Return the results of a model's metrics for the rows of all ranks; every rank must call it.

    The state of a Keras metric is sums, over rows, of numbers, weights or counts, so ranks' states are added up,
    in one message, and the result is computed from that. The loss is a mean weighted by the rows of each batch and
    so comes out right for unequal batches. A `RankMetric` puts its ranks' states together itself.
    """
    check_sums(metrics)
    summed = [metric for metric in single_metrics(metrics) if not isinstance(metric, RankMetric)]
    variables = [variable for metric in summed for variable in metric.variables]
    sums = comm.allreduce([variable.value for variable in variables], "kerasrec.metrics")
    total = {id(variable): value for variable, value in zip(variables, sums, strict=True)}
    results: dict[str, Tensor] = {}
    with ExitStack() as contexts:
        for rank_metric in rank_metrics(metrics):
            contexts.enter_context(rank_metric.results_of(ranks=True))
        for metric in metrics:
            state = [total.get(id(variable), variable.value) for variable in metric.variables]
            result = metric.stateless_result(state)
            results.update(result if isinstance(result, dict) else {metric.name: result})
    return results


def check_sums(metrics: Sequence[keras.metrics.Metric]) -> None:
    """Raise `ValueError` for a metric that says its state is not a sum; warn of a metric that is not Keras's."""
    for metric in single_metrics(metrics):
        if isinstance(metric, RankMetric):
            continue
        name = f"metric {metric.name!r} ({type(metric).__name__})"
        for variable in metric.variables:
            if variable.aggregation != "sum":
                raise ValueError(
                    f"{name}: its variable {variable.name!r} has aggregation={variable.aggregation!r}, but across "
                    "ranks the states of metrics are added up; leave the metric out, or compute it from sums"
                )
        if not _updating_class(metric).__module__.startswith(KNOWN_MODULES):
            warnings.warn(
                f"{name} is not Keras's: its variables are added up over ranks before result(), which is right "
                "if update_state only adds to them",
                stacklevel=2,
            )


def _updating_class(metric: keras.metrics.Metric) -> type:
    """Return the class whose `update_state` runs."""
    return next(cls for cls in type(metric).__mro__ if "update_state" in vars(cls))
