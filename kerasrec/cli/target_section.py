"""The part of a report's page that is about one target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from kerasrec.cli.html import Html, bar, element, join, table
from kerasrec.cli.plots import Draw, calibration, gains, histogram, learning_curves, to_svg
from kerasrec.cli.run_report import Importance, Segment, TargetReport
from kerasrec.cli.segments import worst_segments
from kerasrec.cli.text_table import METRIC_NAMES
from kerasrec.cli.verdict import verdict

MOST_COLUMNS = 30  # of importance


def scores(target: TargetReport, titled: bool) -> Html:
    """Return a table of the model's figures beside those of baselines and bounds, and whether it is any good."""
    columns = {"model": target.scores, **{name: b.scores for name, b in reversed([*target.baselines.items()])}}
    if target.bounds:
        columns["best possible"] = target.bounds
    lines = [
        (
            METRIC_NAMES[metric],
            *(f"{column[metric]:.4f}" if metric in column else "" for column in columns.values()),
        )
        for metric in target.scores
    ]
    answer = verdict(target)
    kind = {True: "verdict good", False: "verdict bad", None: "verdict unsure"}[answer.better]
    return join(
        [
            *([element("h3", element("bdi", target.name))] if titled else []),
            element("p", answer.text, class_=kind),
            table(("on held-out rows", *columns), lines, tuple(columns)),
        ]
    )


def target_section(target: TargetReport, number: int) -> Html:
    """Return plots, importance of columns and segments of the target with this number, from 1."""
    parts = []
    if target.checks:
        parts += [element("h3", "Learning curve"), _plots(learning_curves(target), number)]
    parts += [
        element("h3", "Calibration"),
        element("p", "On the diagonal, predictions are neither too high nor too low.", class_="note"),
        _plots({"Observed and predicted": calibration(target), "Predictions": histogram(target)}, number),
    ]
    if target.task == "binary":
        text = "How many of all ones are found by taking the rows with the highest predictions first."
        draws = {"Share of ones found": gains(target)}
        parts += [element("h3", "Gains"), element("p", text, class_="note"), _plots(draws, number)]
    if target.importance:
        parts.append(_importance(target.importance, target.task))
    if target.segments:
        parts.append(_segments(target))
    return join(parts)


def _plots(draws: Mapping[str, Draw], number: int) -> Html:
    figures = []
    for title, draw in draws.items():
        svg = to_svg(f"{title} {number}", draw).replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
        figures.append(element("figure", element("figcaption", title), Html(svg)))
    return element("div", *figures, class_="plots")


def _importance(importance: Mapping[str, Importance], task: str) -> Html:
    metric = "the RMSE rises" if task == "regression" else "the AUC falls"
    text = (
        f"By how much {metric} when the values of one column are shuffled over the held-out rows, ± one standard "
        "error over the shuffles. Columns that say the same share their importance."
    )
    most = max((value.drop for value in importance.values()), default=0.0)
    scale = most if most > 0 else 1.0
    ordered = sorted(importance.items(), key=lambda item: -item[1].drop)
    lines = [
        (
            name,
            f"{value.drop:+.4f} ± {value.standard_error:.4f}",
            bar(value.drop / scale, value.standard_error / scale),
        )
        for name, value in ordered[:MOST_COLUMNS]
    ]
    rest = len(ordered) - MOST_COLUMNS
    more = [element("p", f"{rest:,} less important columns are not shown.", class_="note")] if rest > 0 else []
    title = element("h3", "Importance of columns")
    note = element("p", text, class_="note")
    return join([title, note, table(("column", "change", ""), lines, ("change",)), *more])


def _segments(target: TargetReport) -> Html:
    metric = "rmse" if target.task == "regression" else "auc"
    text = (
        "How well the rows with each value of a column are predicted. ± is one standard error; observed and "
        "predicted are the means of the target and of the predictions."
    )
    worst = worst_segments(target.segments, target.task, target.scores[metric])
    summary = worst or ["No segment differs from all rows by more than three standard errors."]
    parts = [element("h3", "Segments"), element("p", text, class_="note")]
    parts += [element("p", sentence) for sentence in summary]
    for column, segments in groupby(target.segments, key=lambda segment: segment.column):
        parts.append(_segment_table(column, list(segments), METRIC_NAMES[metric]))
    return join(parts)


def _segment_table(column: str, segments: Sequence[Segment], metric: str) -> Html:
    header = (column, "rows", metric, "observed", "predicted", "difference")
    lines = [
        (
            s.value,
            f"{s.rows:,}",
            "" if s.score is None else f"{s.score:.4f} ± {s.score_error or 0:.4f}",
            f"{s.observed:.4g}",
            f"{s.predicted:.4g}",
            f"{s.predicted - s.observed:+.3g} ± {s.gap_error:.2g}",
        )
        for s in segments
    ]
    return table(header, lines, header[1:])
