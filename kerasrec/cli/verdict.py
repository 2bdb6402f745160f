"""Say in a sentence or two whether a model is any good."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerasrec.cli.run_report import Baseline, TargetReport
from kerasrec.cli.text_table import METRIC_NAMES
from kerasrec.datasets import metrics

REMEDIES = (
    "Try more rows, fewer --epochs, a higher --min-count, a lower --embedding-dim or --learning-rate, and columns "
    "that tell more about the target."
)


@dataclass(frozen=True)
class Verdict:
    """Whether the model is clearly better than every baseline, and a text that says so and why.

    `better` is None if that cannot be told: without a baseline, or if the difference may be chance.
    """

    better: bool | None
    text: str


def verdict(target: TargetReport) -> Verdict:
    """Compare a model with its baselines on the same held-out rows.

    The losses are compared row by row: a difference counts if it is more than two standard errors.
    """
    metric = "rmse" if target.task == "regression" else "auc"
    reached = f"{METRIC_NAMES[metric]} {target.scores[metric]:.4f}"
    if not target.baselines:
        return Verdict(None, f"The model reaches {reached} on the held-out rows; there is no baseline to compare.")
    name, baseline = min(target.baselines.items(), key=lambda item: item[1].scores[target.loss_metric])
    gain, error = _gain(target, baseline)
    against = f"{METRIC_NAMES[metric]} {baseline.scores[metric]:.4f} for {name}"
    loss = "squared error" if target.task == "regression" else "log loss"
    if gain > 2 * error:
        others = "both baselines" if len(target.baselines) == 2 else "its baselines"
        others = others if len(target.baselines) > 1 else f"the baseline {name!r}"
        text = f"The model is better than {others}: {reached}, against {against}."
        return Verdict(True, f"{text} Its {loss} is lower by {gain:.4g} ± {error:.2g}.")
    if gain < -2 * error:
        text = f"The model is worse than the baseline {name!r}: its {loss} is higher by {-gain:.4g} ± {error:.2g}"
        return Verdict(False, f"{text} ({reached}, against {against}). {_ranking(target, baseline)}{REMEDIES}")
    text = f"The model is not clearly better than the baseline {name!r}: {reached}, against {against}."
    sign = "lower" if gain > 0 else "higher"
    rows = f"On {np.size(target.labels):,} held-out rows its {loss} is {sign} by {abs(gain):.2g} ± {error:.2g}"
    remedy = "Hold out more rows to tell." if gain > 0 else REMEDIES
    return Verdict(None, f"{text} {rows}, which may be chance. {remedy}")


def _ranking(target: TargetReport, baseline: Baseline) -> str:
    """Return a sentence for a model that orders rows better than the baseline, with worse probabilities."""
    if target.task == "regression" or target.scores["auc"] <= baseline.scores["auc"]:
        return ""
    return "It orders the rows better, but its probabilities are too near 0 and 1, or too high or low as a whole. "


def _gain(target: TargetReport, baseline: Baseline) -> tuple[float, float]:
    """Return how much lower the model's mean loss is than the baseline's, and the standard error."""
    difference = _losses(target, baseline.predictions) - _losses(target, target.predictions)
    weights = np.ones_like(difference) if target.weights is None else np.ravel(target.weights).astype(np.float64)
    mean = np.average(difference, weights=weights)
    error = np.sqrt(np.sum((weights * (difference - mean)) ** 2)) / weights.sum()
    return float(mean), float(error)


def _losses(target: TargetReport, predictions: NDArray) -> NDArray[np.float64]:
    if target.task == "regression":
        return (np.ravel(target.labels).astype(np.float64) - np.ravel(predictions)) ** 2
    return metrics.row_log_loss(target.labels, predictions)
