"""Plots of how a model learned and how well it predicts; none shows a text from the data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from kerasrec.cli.run_report import TargetReport
from kerasrec.cli.text_table import METRIC_NAMES
from kerasrec.files import write_aside

INK, TRAIN, VALID, BOUND = "#1c2330", "#8592a3", "#1f5fbf", "#c0392b"
BASELINES = ("#2e8b57", "#b8860b", "#7d3c98")
# What a page puts in the place of the colors of an SVG, so that they fit a light and a dark page.
CSS_COLORS = {INK: "currentColor", TRAIN: "var(--muted)", VALID: "var(--model)", BOUND: "var(--bound)"} | {
    color: f"var(--baseline-{number})" for number, color in enumerate(BASELINES, 1)
}
_UNUSED_ID = re.compile(r' id="[A-Za-z0-9.]+_\d+"')  # of groups; they would repeat on a page with several plots
Draw = Callable[[Axes], None]


def learning_curves(target: TargetReport) -> dict[str, Draw]:
    """Return a plot per metric over the rows trained on, the training loss beside its own.

    Baselines and bounds are level lines.
    """
    metrics = sorted(target.checks[0].scores, key=lambda name: name != target.loss_metric) if target.checks else []
    return {
        f"{_capital(METRIC_NAMES[metric])} while training": _learning_curve(target, metric) for metric in metrics
    }


def _learning_curve(target: TargetReport, metric: str) -> Draw:
    def draw(axis: Axes) -> None:
        rows = [check.rows for check in target.checks]
        if metric == target.loss_metric:
            axis.plot(rows, [c.train_loss for c in target.checks], color=TRAIN, marker=".", label="training")
        axis.plot(rows, [c.scores[metric] for c in target.checks], color=VALID, marker="o", label="held out")
        if metric in target.bounds:
            _level(axis, target.bounds[metric], BOUND, "--", "bound: the true probabilities")
        for color, (label, baseline) in zip(cycle(BASELINES), target.baselines.items(), strict=False):
            if metric in baseline.scores and not (metric == "auc" and baseline.scores[metric] == 0.5):
                _level(axis, baseline.scores[metric], color, ":", label)
        axis.set(xlabel="rows trained on", ylabel=METRIC_NAMES[metric])
        _finish(axis)
        axis.xaxis.set_major_formatter(FuncFormatter(_short))
        axis.set_xlim(left=0)

    return draw


def calibration(target: TargetReport) -> Draw:
    """Return a plot of observed against predicted values, in 20 groups of equally many rows by prediction.

    On the diagonal predictions are neither too high nor too low. Bars are two standard errors.
    """
    labels, scores, weights = _flat(target.labels), _flat(target.predictions), _weights(target)
    groups = np.array_split(np.argsort(scores, kind="stable"), min(20, max(1, len(scores) // 5)))
    predicted = np.array([np.average(scores[group], weights=weights[group]) for group in groups])
    observed = np.array([np.average(labels[group], weights=weights[group]) for group in groups])
    error = np.array([2 * _mean_error(labels[group], weights[group]) for group in groups])
    binary = target.task == "binary"

    def draw(axis: Axes) -> None:
        ends = [min(predicted.min(), observed.min()), max(predicted.max(), observed.max())]
        axis.plot(ends, ends, color=BOUND, linestyle="--", label="perfectly calibrated")
        label = "held out, ± 2 standard errors"
        axis.errorbar(predicted, observed, yerr=error, color=VALID, marker="o", capsize=2, label=label)
        axis.set(xlabel="predicted probability" if binary else "predicted value")
        axis.set(ylabel="observed share of ones" if binary else "observed mean")
        _finish(axis)

    return draw


def histogram(target: TargetReport) -> Draw:
    """Return a histogram of the predictions for the held-out rows."""

    def draw(axis: Axes) -> None:
        axis.hist(_flat(target.predictions), bins=50, color=TRAIN)
        axis.set(xlabel="predicted probability" if target.task == "binary" else "predicted value", ylabel="rows")
        axis.yaxis.set_major_formatter(FuncFormatter(_short))
        axis.spines[["top", "right"]].set_visible(False)

    return draw


def gains(target: TargetReport) -> Draw:
    """Return a plot of the share of all ones that is among the rows with the highest predictions."""

    def draw(axis: Axes) -> None:
        axis.plot(*_gains(target, target.predictions), color=VALID, label="model")
        for color, (name, baseline) in zip(cycle(BASELINES), target.baselines.items(), strict=False):
            axis.plot(*_gains(target, baseline.predictions), color=color, linestyle=":", label=name)
        axis.set(xlabel="share of rows, highest predictions first", ylabel="share of all ones among them")
        axis.set(xlim=(0, 1), ylim=(0, 1))
        _finish(axis)

    return draw


def _gains(target: TargetReport, predictions: NDArray[Any]) -> tuple[NDArray, NDArray]:
    """Return shares of rows and of ones; rows with equal predictions come in any order, so on a straight line."""
    levels, level = np.unique(-_flat(predictions), return_inverse=True)
    weights = _weights(target)
    rows = np.bincount(level, weights, len(levels)).cumsum()
    ones = np.bincount(level, weights * _flat(target.labels), len(levels)).cumsum()
    keep = np.unique(np.linspace(0, len(levels) - 1, 200).astype(int))
    return np.append(0, rows[keep] / rows[-1]), np.append(0, ones[keep] / max(ones[-1], 1e-300))


# ---- files --------------------------------------------------------------------------------------------------
def write_png(path: Path, plots: Mapping[str, Draw]) -> None:
    """Write a PNG of plots side by side, each under its title."""
    with _figure(plots, width=5.5, height=4.2) as figure, write_aside(path) as temporary:
        figure.savefig(temporary, dpi=130)


def to_svg(title: str, draw: Draw) -> str:
    """Return a plot as an `<svg>` element, whose text is text and whose colors are CSS variables of the page."""
    with matplotlib.rc_context({"svg.hashsalt": title}), _figure({"": draw}, width=4.2, height=3.3) as figure:
        text = StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = _UNUSED_ID.sub("", svg[svg.index("<svg") :].strip())
    for color, variable in CSS_COLORS.items():
        svg = svg.replace(color, variable)
    return svg


@contextmanager
def _figure(plots: Mapping[str, Draw], width: float, height: float) -> Iterator[Figure]:
    style = matplotlib.rc_context(
        {
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "grid.color": TRAIN,
            "font.size": 10,
            "axes.titlesize": 11,
            "svg.fonttype": "none",
        }
    )
    with style:
        figure = Figure(figsize=(width * len(plots), height), layout="constrained")
        FigureCanvasAgg(figure)
        axes: Sequence[Axes] = figure.subplots(1, len(plots), squeeze=False)[0]
        for axis, (title, draw) in zip(axes, plots.items(), strict=True):
            draw(axis)
            axis.set_title(title)
        yield figure


def write_summary(path: Path, figures: Mapping[str, Any]) -> None:
    """Write figures as JSON."""
    with write_aside(path) as temporary:
        temporary.write_text(json.dumps(dict(figures), indent=2) + "\n", encoding="utf-8")


# ---- parts of a plot ----------------------------------------------------------------------------------------
def _flat(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.ravel(values).astype(np.float64)


def _weights(target: TargetReport) -> NDArray[np.float64]:
    """Return the weights of the rows, 1 by default; a little more than 0, so that each group has a mean."""
    return np.ones(np.size(target.labels)) if target.weights is None else np.maximum(_flat(target.weights), 1e-12)


def _mean_error(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the standard error of a weighted mean."""
    difference = values - np.average(values, weights=weights)
    return float(np.sqrt(np.sum((weights * difference) ** 2)) / weights.sum())


def _level(axis: Axes, value: float, color: str, style: str, label: str) -> None:
    axis.axhline(value, color=color, linestyle=style, label=f"{label}, {value:.4f}")


def _finish(axis: Axes) -> None:
    axis.legend(frameon=False)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _short(value: float, _: Any = None) -> str:
    for unit, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g}{suffix}"
    return f"{value:g}"
