"""Metrics of all ranks' rows, out of what each rank has counted."""

from __future__ import annotations

import warnings
from typing import Any
from weakref import WeakSet

from kerasrec.parallel import comm

OURS = ("keras.", "keras_rs.", "kerasrec.")

_checked: WeakSet[Any] = WeakSet()


def global_results(model: Any) -> dict[str, Any]:
    """What `model.get_metrics_result()` gives, for the rows of all ranks; all of them must call it.

    The state of a Keras metric is sums, over rows, of numbers, weights or counts, so ranks' states are added up,
    in one message, and the result is computed from that. The loss is a mean weighted by the rows of each batch and
    so comes out right for unequal batches.
    """
    metrics = list(model.metrics)
    check_sums(metrics)
    total = iter(comm.allreduce([v.value for metric in metrics for v in metric.variables], "kerasrec.metrics"))
    results: dict[str, Any] = {}
    for metric in metrics:
        result = metric.stateless_result([next(total) for _ in metric.variables])
        results.update(result if isinstance(result, dict) else {metric.name: result})
    return results


def check_sums(metrics: list[Any]) -> None:
    """Raise `ValueError` for a metric that says its state is no sum; warn of those that nobody knows."""
    for metric in (each for each in _single(metrics) if each not in _checked):
        kind = f"metric {metric.name!r} ({type(metric).__name__})"
        for variable in metric.variables:
            if variable.aggregation != "sum":
                raise ValueError(
                    f"{kind}: its variable {variable.name!r} has aggregation={variable.aggregation!r}, but across "
                    "ranks the states of metrics are added up; leave the metric out, or compute it from sums"
                )
        if not _updates(metric).__module__.startswith(OURS):
            warnings.warn(
                f"{kind} is not Keras's: its variables are added up over ranks before result(), which is right "
                "if update_state only adds to them",
                stacklevel=2,
            )
        _checked.add(metric)


def _single(metrics: list[Any]) -> list[Any]:
    """Each metric itself: those given to `compile` are together in one."""
    return [one for metric in metrics for one in (getattr(metric, "metrics", None) or [metric])]


def _updates(metric: Any) -> type:
    """The class whose `update_state` runs."""
    return next(kind for kind in type(metric).__mro__ if "update_state" in vars(kind))
