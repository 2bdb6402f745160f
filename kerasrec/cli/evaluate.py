"""`kerasrec evaluate`: how well a run predicts rows whose targets are known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from polars import selectors
from rich.console import Console

from kerasrec.cli.errors import CommandError, did_you_mean
from kerasrec.cli.load_run import check_run, load_run
from kerasrec.cli.preconditions import check_backend
from kerasrec.cli.run_report import Segment
from kerasrec.cli.scores import score
from kerasrec.cli.segments import MIN_ROWS, find_segments, worst_segments
from kerasrec.cli.text_table import METRIC_NAMES, table
from kerasrec.cli.weights import weights_in
from kerasrec.etl.sources.scan import scan
from kerasrec.etl.sources.source import Source
from kerasrec.files import write_aside
from kerasrec.schema import Column, Tag

if TYPE_CHECKING:
    from kerasrec.cli.labelled_predictions import LabelledPredictions
    from kerasrec.pipeline.pipeline import Pipeline


def run_evaluate(
    run: Path, data: str, by: Sequence[str], out: Path | None, overwrite: bool, trust: Sequence[str]
) -> None:
    """Print the figures of a run on `data`, and write them to `out`; see `kerasrec evaluate --help`."""
    check_run(run)
    if out is not None and out.exists() and not overwrite:
        raise CommandError(f"{out} exists; choose another --out, or pass --overwrite")
    source = scan(data)
    for name in by:
        if name not in source.columns.names:
            raise CommandError(
                f"--by: no column {name!r} in {source.name}{did_you_mean(name, source.columns.names)}"
            )
    check_backend(None)
    from kerasrec.cli.labelled_predictions import predict_labelled

    console, pipeline = Console(), load_run(run, trust)
    rows, known = _with_known_targets(pipeline, source)
    predictions = predict_labelled(pipeline, known, console)
    if not predictions.rows:
        raise CommandError(f"{source.name} has no rows to evaluate on")
    if rows:
        console.print(f"{rows:,} rows are left out, because a target is null.", highlight=False)
    raw = known.collect(known.lazy(by).select(selectors.by_name(by))) if by else None
    if raw is not None and len(raw) != predictions.rows:
        raise CommandError(
            f"--by: the workflow makes {predictions.rows:,} rows of {len(raw):,}, so it is unclear which row has "
            "which value; leave out --by"
        )
    figures = {target.name: _figures(target, predictions, raw) for target in predictions.targets}
    for target in predictions.targets:
        _print(console, target, figures[target.name], predictions.rows)
    if out is not None:
        with write_aside(out, overwrite=overwrite) as temporary:
            text = json.dumps({"rows": predictions.rows, "targets": figures}, indent=2, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")


def _with_known_targets(pipeline: Pipeline, source: Source) -> tuple[int, Source]:
    """Return how many rows have a null target, and the others."""
    targets = [column for column in pipeline.workflow.input_schema.targets if column.name in source.types]
    if not targets:
        return 0, source  # predict_labelled names the one that is missing
    known = pl.all_horizontal(source.clean(column).is_not_null() for column in targets)
    others = replace(source, filters={**source.filters, "known targets": known})
    with source.explain_errors():
        rows = source.collect(source.lazy([column.name for column in targets]).select((~known).sum())).item()
    return rows, others


def _figures(target: Column, predictions: LabelledPredictions, raw: pl.DataFrame | None) -> dict[str, Any]:
    """Return the task, scores of the model and of the base rate, means, and segments if there is `raw`."""
    task, name = "binary" if Tag.BINARY in target.tags else "regression", target.name
    labels = predictions.labels[name].cast(pl.Float64).to_numpy()
    values = predictions.values[name]
    weights = _weights(predictions, name)
    mean = float(np.average(labels, weights=weights))
    figures: dict[str, Any] = {
        "task": task,
        "model": _plain(score(task, labels, values, weights)),
        "base rate": _plain(score(task, labels, np.full(len(labels), mean), weights)),
        "observed mean": mean,
        "predicted mean": float(np.average(values, weights=weights)),
    }
    if raw is not None:
        ids = predictions.categorical
        segments = find_segments(raw, task, labels, values, weights, categorical=ids)
        figures["segments"] = [asdict(segment) for segment in segments]
    return figures


def _weights(predictions: LabelledPredictions, target: str) -> np.ndarray | None:
    """Return the weights of the rows, if the workflow has any."""
    weights = weights_in(predictions.schema, predictions.labels)[target]
    if weights is not None and not weights.sum() > 0:
        raise CommandError(f"{target!r} cannot be evaluated: the weights of its rows are all 0")
    return weights


def _plain(scores: Mapping[str, float]) -> dict[str, float | None]:
    """Return scores as JSON has them: NaN, as of an AUC with one class, becomes null."""
    return {name: None if np.isnan(value) else value for name, value in scores.items()}


# ---- printing -----------------------------------------------------------------------------------------------
def _print(console: Console, target: Column, figures: Mapping[str, Any], rows: int) -> None:
    columns = ("model", "base rate")
    lines = [
        (METRIC_NAMES[metric], *(_number(figures[column][metric]) for column in columns))
        for metric in figures["model"]
    ]
    console.print()
    console.print(table(f"{target.name}, {rows:,} rows", lines, ("", *columns), right=columns))
    observed, predicted = figures["observed mean"], figures["predicted mean"]
    console.print(f"mean: {observed:.4g} observed, {predicted:.4g} predicted", highlight=False)
    if figures["model"].get("auc", 0.0) is None:
        console.print(
            f"There is no AUC, because {target.name!r} is {observed:g} in every row.", style="yellow", markup=False
        )
    if "segments" in figures:
        _print_segments(console, [Segment(**segment) for segment in figures["segments"]], figures)


def _print_segments(console: Console, segments: Sequence[Segment], figures: Mapping[str, Any]) -> None:
    metric = "auc" if figures["task"] == "binary" else "rmse"
    numbers = ("rows", METRIC_NAMES[metric], "observed", "predicted")
    for column in dict.fromkeys(segment.column for segment in segments):
        lines = [
            (
                segment.value,
                f"{segment.rows:,}",
                "" if segment.score is None else f"{segment.score:.4f} ± {segment.score_error or 0:.4f}",
                f"{segment.observed:.4g}",
                f"{segment.predicted:.4g}",
            )
            for segment in segments
            if segment.column == column
        ]
        console.print()
        console.print(table(f"by {column}", lines, ("", *numbers), right=numbers))
    if not segments:
        console.print(f"No value has {MIN_ROWS} rows or more.")
    if (overall := figures["model"][metric]) is not None:
        for sentence in worst_segments(segments, figures["task"], overall):
            console.print(sentence, markup=False, highlight=False)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
