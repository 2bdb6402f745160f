"""What a run found: printed, in `results.json`, and as the data of its report."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from kerasrec._version import __version__
from kerasrec.cli.column_stats import ColumnStats
from kerasrec.cli.config import NOT_SAVED
from kerasrec.cli.options import TrainOptions
from kerasrec.cli.roles import Guess, short_type
from kerasrec.cli.rows import Split
from kerasrec.cli.run_report import Baseline, ColumnReport, Importance, RunReport, TargetReport
from kerasrec.cli.segments import find_segments
from kerasrec.cli.text_table import METRIC_NAMES, table
from kerasrec.cli.training import Fitted
from kerasrec.cli.verdict import verdict
from kerasrec.files import write_aside


@dataclass(frozen=True)
class Measured:
    """The labels, weights and predictions of the held-out rows, and what was computed from them, by target."""

    tasks: Mapping[str, str]
    labels: Mapping[str, Any]
    predictions: Mapping[str, Any]
    weights: Mapping[str, Any]
    scores: Mapping[str, Mapping[str, float]]
    baselines: Mapping[str, Mapping[str, Baseline]]
    importance: Mapping[str, Mapping[str, Importance]]


def target_reports(
    fitted: Fitted, measured: Measured, raw: pl.DataFrame, ids: Collection[str]
) -> list[TargetReport]:
    """Return a report per target; `raw` has the columns of segments of the held-out rows, `ids` those of ids."""
    reports = []
    for name, task in measured.tasks.items():
        labels, predictions = measured.labels[name], measured.predictions[name]
        reports.append(
            TargetReport(
                name,
                task,
                labels,
                predictions,
                fitted.checks[name],
                measured.scores[name],
                measured.baselines.get(name, {}),
                weights=measured.weights[name],
                importance=measured.importance.get(name, {}),
                segments=find_segments(raw, task, labels, predictions, measured.weights[name], categorical=ids),
            )
        )
    return reports


def column_reports(guesses: Sequence[Guess]) -> list[ColumnReport]:
    """Return a report per column."""
    return [_column_report(guess, guess.stats) for guess in guesses]


def _column_report(guess: Guess, stats: ColumnStats) -> ColumnReport:
    operators = [str(step) for step in guess.steps]
    dtype = short_type(stats.dtype)
    return ColumnReport(guess.name, dtype, guess.role, operators, guess.reason, stats.distinct, stats.nulls)


def saved_options(options: TrainOptions) -> dict[str, Any]:
    """Return the options that a config file has, as JSON."""
    return {name: value for name, value in asdict(options).items() if name not in NOT_SAVED}


def print_figures(
    console: Console, report: RunReport, fitted: Fitted, split: Split, options: TrainOptions
) -> None:
    """Print the figures of each target beside its baselines, in words whether they are any good, and where the
    rows came from."""
    for target in report.targets:
        console.print(f"\n{target.name}: held-out rows", style="bold", markup=False, highlight=False)
        console.print(_figures(target))
        found = verdict(target)
        style = "bold" if found.better else "yellow"
        console.print(f"\n{found.text}", style=style, markup=False, highlight=False)
    console.print(f"\n{kept(fitted, options)} {split.explain(options.valid)}", markup=False, highlight=False)


def kept(fitted: Fitted, options: TrainOptions) -> str:
    """Return a sentence about which weights were kept."""
    rows, last = fitted.rows[fitted.best], fitted.rows[-1]
    if not options.patience:
        return f"Trained on {last:,} rows without early stopping (--patience 0)."
    ended = f"stopped after {last:,}" if fitted.stopped else f"trained on {last:,}"
    if fitted.best == len(fitted.rows) - 1:
        return f"The last weights were the best and are kept ({ended} rows; more --epochs may help)."
    return f"The weights after {rows:,} rows were the best and are kept ({ended} rows)."


def _figures(target: TargetReport) -> Any:
    metrics = list(target.scores)
    lines = [("the model", *(f"{target.scores[metric]:.4f}" for metric in metrics))]
    lines += [(name, *(f"{b.scores[metric]:.4f}" for metric in metrics)) for name, b in target.baselines.items()]
    header = [METRIC_NAMES[metric] for metric in metrics]
    return table("", lines, ("", *header), right=header)


def write_results(path: Path, report: RunReport, fitted: Fitted) -> None:
    """Write the figures as JSON."""
    content = {
        "kerasrec": __version__,
        "model": report.model,
        "rows": dict(report.rows),
        "targets": {target.name: _target_results(target) for target in report.targets},
        "kept_after_rows": fitted.rows[fitted.best],
        "trained_rows": fitted.rows[-1],
        "stopped_early": fitted.stopped,
        "warnings": list(report.warnings),
        "seconds": dict(report.seconds),
        "rows_per_s": dict(report.rates),
    }
    with write_aside(path) as aside:
        aside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _target_results(target: TargetReport) -> dict[str, Any]:
    found = verdict(target)
    return {
        "task": target.task,
        "scores": dict(target.scores),
        "baselines": {name: dict(baseline.scores) for name, baseline in target.baselines.items()},
        "better_than_baselines": found.better,
        "verdict": found.text,
        "checks": [dict(_check(check)) for check in target.checks],
    }


def _check(check: Any) -> Iterator[tuple[str, float]]:
    yield "rows", check.rows
    yield "train_loss", check.train_loss
    yield from check.scores.items()
