"""Segments: how well the rows with each value of a column are predicted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from kerasrec.cli.run_report import ColumnReport, Segment
from kerasrec.datasets import metrics
from kerasrec.datasets.additive import number_bins, quantile_edges

MAX_COLUMNS = 12
MAX_DISTINCT = 100  # values of a column whose values are segments
MAX_VALUES = 10  # segments per column; the other values are one more
MIN_ROWS = 30  # fewer say little
RANGES = 5


def segment_columns(columns: Sequence[ColumnReport]) -> list[str]:
    """Return up to 12 names of features whose values make segments: categories with few values, then numbers."""
    few = [c for c in columns if c.role == "categorical" and c.distinct <= MAX_DISTINCT]
    numbers = [c for c in columns if c.role == "continuous"]
    return [column.name for column in (*few, *numbers)][:MAX_COLUMNS]


def find_segments(
    rows: pl.DataFrame,
    task: str,
    labels: ArrayLike,
    predictions: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    categorical: Collection[str] = (),
) -> list[Segment]:
    """Return how well a target is predicted for each value of each column, or for ranges of its numbers.

    Args:
        rows: columns of the raw held-out rows, in their order, such as `segment_columns` names. A list counts in
            the segment of each of its elements. Numbers with more than 10 values are cut into ranges.
        task: "binary" or "regression".
        labels, predictions: of the rows, any shape.
        weights: of the rows in the figures; by default equal ones.
        categorical: names of columns whose numbers are ids, so that the most frequent are segments, not ranges.

    Returns:
        The segments of at least 30 rows, the columns in order, each with its most frequent values first.

    Raises:
        ValueError: there are not as many labels or predictions as rows.
    """
    y, p = np.ravel(labels).astype(np.float64), np.ravel(predictions).astype(np.float64)
    w = np.ones_like(y) if weights is None else np.ravel(weights).astype(np.float64)
    if not rows.columns:
        return []
    if not len(rows) == len(y) == len(p) == len(w):
        raise ValueError(f"{len(rows)} rows, {len(y)} labels, {len(p)} predictions and {len(w)} weights differ")
    return [
        _segment(name, value, task == "binary", y[index], p[index], w[index])
        for name in rows.columns
        for value, index in _groups(rows[name], name in categorical)
        if len(index) >= MIN_ROWS
    ]


def worst_segments(segments: Sequence[Segment], task: str, overall: float) -> list[str]:
    """Return sentences about the segments that are predicted worst: by score, and by bias.

    A segment counts only if it is more than three standard errors away from the score of all rows, `overall`, or
    from a mean prediction that equals the mean target.
    """
    sign, metric = (1.0, "AUC") if task == "binary" else (-1.0, "RMSE")
    sentences = []
    scored = [(s, sign * (overall - s.score) - 3 * (s.score_error or 0)) for s in segments if s.score is not None]
    low = [(segment, excess) for segment, excess in scored if excess > 0]
    if low:
        worst = max(low, key=lambda pair: pair[1])[0]
        sentences.append(
            f"Predicted worst: {worst.column} = {worst.value}, {metric} {worst.score:.4f} ± "
            f"{worst.score_error:.4f} on {worst.rows:,} rows, against {overall:.4f} on all rows."
        )
    biased = [s for s in segments if abs(s.predicted - s.observed) > 3 * s.gap_error > 0]
    if biased:
        worst = max(biased, key=lambda s: abs(s.predicted - s.observed) / s.gap_error)
        direction = "high" if worst.predicted > worst.observed else "low"
        sentences.append(
            f"Predicted too {direction}: {worst.column} = {worst.value}, on average {worst.predicted:.4g} where "
            f"{worst.observed:.4g} was observed, on {worst.rows:,} rows."
        )
    return sentences


# ---- one segment --------------------------------------------------------------------------------------------
def _segment(column: str, value: str, binary: bool, y: NDArray, p: NDArray, w: NDArray) -> Segment:
    total = w.sum() or 1.0
    effective = total**2 / (np.square(w).sum() or 1.0)  # as many rows of equal weights would have the same error
    gap = y - p
    observed, predicted, offset = (float((x * w).sum() / total) for x in (y, p, gap))
    spread = np.sqrt((w * np.square(gap - offset)).sum() / total)
    score, error = _auc(y, p, w) if binary else _rmse(gap, w, effective)
    return Segment(column, value, len(y), observed, predicted, float(spread / np.sqrt(effective)), score, error)


def _auc(y: NDArray, p: NDArray, w: NDArray) -> tuple[float | None, float | None]:
    """Return the AUC and its standard error by Hanley and McNeil (Radiology 143, 1982)."""
    ones = y == 1
    positives, negatives = (np.sum(w[k]) ** 2 / max(np.sum(w[k] ** 2), 1e-300) for k in (ones, ~ones))
    if positives < 1 or negatives < 1:
        return None, None
    auc = metrics.auc(y, p, w)
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    return auc, float(np.sqrt(max(variance, 0.0) / (positives * negatives)))


def _rmse(gap: NDArray, w: NDArray, effective: float) -> tuple[float | None, float | None]:
    """Return the RMSE and its standard error, that of the mean square divided by twice the root."""
    square = gap**2
    mean = np.average(square, weights=w) if w.sum() else 0.0
    if not mean:
        return 0.0, 0.0
    spread = np.sqrt(np.average((square - mean) ** 2, weights=w))
    return float(np.sqrt(mean)), float(spread / np.sqrt(effective) / (2 * np.sqrt(mean)))


# ---- groups of rows -----------------------------------------------------------------------------------------
def _groups(column: pl.Series, is_id: bool) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield the name of each segment of a column, and the numbers of its rows."""
    values = column.alias("value")
    values = values.fill_nan(None) if values.dtype.is_float() else values
    values = values.arr.to_list() if isinstance(values.dtype, pl.Array) else values
    is_number = values.dtype.is_numeric() or values.dtype.is_temporal()
    if is_number and not is_id and values.n_unique() > MAX_VALUES:
        yield from _ranges(values)
        return
    is_list = isinstance(values.dtype, pl.List)
    rows = values.to_frame().with_row_index("row")
    rows = _elements(rows) if is_list else rows
    most_first = pl.col("row").list.len(), pl.col("value").cast(pl.String)
    groups = rows.group_by("value").agg(pl.col("row").sort()).sort(*most_first, descending=[True, False])
    top = groups.head(MAX_VALUES)
    for value, numbers in zip(top["value"], top["row"], strict=True):
        yield _name(value, is_list), numbers.to_numpy()
    if len(groups) > MAX_VALUES:
        others = groups.slice(MAX_VALUES)["row"].explode().unique().sort()
        yield f"{len(groups) - MAX_VALUES:,} other values", others.to_numpy()


def _elements(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a row per element of each list, without repeats; an empty or null list has the element null."""
    some = pl.col("value").list.len().fill_null(0) > 0
    elements = rows.filter(some).explode("value")
    empty = rows.filter(~some).select("row", value=pl.lit(None, elements.schema["value"]))
    return pl.concat([elements, empty]).unique()


def _ranges(values: pl.Series) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield ranges of numbers or times with about equally many values, the lowest first, and nulls before them."""
    physical = values.to_physical().cast(pl.Float64)
    bins = number_bins(physical, quantile_edges(physical, RANGES))
    frame = values.to_frame().with_columns(bin=pl.Series(bins)).with_row_index("row")
    groups = frame.group_by("bin").agg(pl.col("row").sort(), low=pl.col("value").min(), high=pl.col("value").max())
    groups = groups.sort("bin")
    for numbers, low, high in zip(groups["row"], groups["low"], groups["high"], strict=True):
        yield "null" if low is None else f"{_text(low)} to {_text(high)}", numbers.to_numpy()


def _name(value: object, is_list: bool) -> str:
    if value is None:
        return "none" if is_list else "null"
    return _text(value) or '""'


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
