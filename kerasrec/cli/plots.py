"""Plots and a JSON summary of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from kerasrec.cli.run_report import Check
from kerasrec.cli.text_table import METRIC_NAMES
from kerasrec.files import write_aside

TRAIN, VALID, BOUND = "#9aa5b1", "#1f5fbf", "#c0392b"
BASELINES = ("#2e8b57", "#b8860b", "#7d3c98")


def learning_curve(
    path: Path,
    checks: Sequence[Check],
    loss: str,
    bounds: Mapping[str, float] | None = None,
    baselines: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """Write a PNG with one panel per metric, over the rows trained on; the first also shows the training loss.

    Args:
        path: of the PNG.
        checks: in the order of training.
        loss: the metric that the training loss compares with.
        bounds: metric -> the best value that any model can reach, drawn as a line.
        baselines: name of a simpler model -> metric -> value, drawn as lines.
    """
    metrics = sorted(checks[0].scores, key=lambda name: name != loss)
    figure = Figure(figsize=(5.5 * len(metrics), 4.2), layout="constrained")
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    rows = [check.rows for check in checks]
    for axis, metric in zip(axes, metrics, strict=True):
        if metric == loss:
            axis.plot(rows, [check.train_loss for check in checks], color=TRAIN, marker=".", label="training")
        axis.plot(rows, [check.scores[metric] for check in checks], color=VALID, marker="o", label="held out")
        if bounds and metric in bounds:
            _level(axis, bounds[metric], BOUND, "--", "bound: the true probabilities")
        for color, (label, scores) in zip(cycle(BASELINES), (baselines or {}).items(), strict=False):
            if metric in scores:
                _level(axis, scores[metric], color, ":", label)
        name = METRIC_NAMES[metric]
        axis.set(xlabel="rows trained on", ylabel=name, title=f"{name} while training")
        _finish(axis)
        axis.xaxis.set_major_formatter(FuncFormatter(_short))
        axis.set_xlim(left=0)
    _save(figure, path)


def calibration(path: Path, labels: NDArray[Any], scores: NDArray[Any], target: str, binary: bool) -> None:
    """Write a PNG of observed against predicted values, in 20 groups of equally many rows, ordered by prediction.

    On the diagonal predictions are neither too high nor too low. Bars are two standard errors; a histogram of the
    predictions is below.
    """
    labels, scores = np.ravel(labels).astype(np.float64), np.ravel(scores).astype(np.float64)
    groups = np.array_split(np.argsort(scores, kind="stable"), min(20, max(1, len(scores) // 5)))
    predicted = np.array([scores[group].mean() for group in groups])
    observed = np.array([labels[group].mean() for group in groups])
    error = np.array([2 * labels[group].std() / np.sqrt(len(group)) for group in groups])

    figure = Figure(figsize=(5.5, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    ends = [min(predicted.min(), observed.min()), max(predicted.max(), observed.max())]
    top.plot(ends, ends, color=BOUND, linestyle="--", label="perfectly calibrated")
    label = "held out, ± 2 standard errors"
    top.errorbar(predicted, observed, yerr=error, color=VALID, marker="o", capsize=2, label=label)
    statistic = "share of ones" if binary else "mean"
    top.set(ylabel=f"observed {statistic} of {target!r}", title="Calibration on the held-out rows")
    _finish(top)
    bottom.hist(scores, bins=50, color=TRAIN)
    bottom.set(xlabel="predicted probability" if binary else f"predicted {target!r}", ylabel="rows")
    bottom.yaxis.set_major_formatter(FuncFormatter(_short))
    bottom.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _level(axis: Axes, value: float, color: str, style: str, label: str) -> None:
    axis.axhline(value, color=color, linestyle=style, label=f"{label}, {value:.4f}")


def _finish(axis: Axes) -> None:
    axis.legend(frameon=False)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _short(value: float, _: Any = None) -> str:
    for unit, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g}{suffix}"
    return f"{value:g}"


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    with write_aside(path) as temporary:
        figure.savefig(temporary, dpi=130)


def write_summary(path: Path, figures: Mapping[str, Any]) -> None:
    """Write figures as JSON."""
    with write_aside(path) as temporary:
        temporary.write_text(json.dumps(dict(figures), indent=2) + "\n", encoding="utf-8")
