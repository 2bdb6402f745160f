"""Find features that give the target away: copies of it, and values that are only known once it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kerasrec.cli.roles import CATEGORICAL, CONTINUOUS, TARGET, Guess
from kerasrec.datasets import metrics
from kerasrec.datasets.additive import number_bins, quantile_edges

MAX_ROWS = 100_000  # of a sample that are compared
MIN_ROWS = 50  # fewer may be in the order of the target by chance
MIN_ROWS_PER_VALUE = 10  # on average; with fewer, one target per value may be chance
MIN_SCORE = 0.9995  # AUC or rank correlation
NEARLY = 0.97  # AUC or share of the variance of a single column
APART = 0.25  # of what the next best column leaves unexplained, the most that a possible leak leaves
_FOLDS = 4
_SMOOTHING = 2.0  # rows of the mean that a value's mean begins with
_RANGES = 64
_SEED = 2_718_281  # of the folds; no seed that data is likely to be drawn with


@dataclass(frozen=True)
class Leak:
    """A feature that gives the target away, `certain`, or may do so, and how it does."""

    column: str
    certain: bool
    reason: str


def leaks(sample: pl.DataFrame, guesses: Iterable[Guess]) -> Iterator[Leak]:
    """Yield each feature that alone gives away a target of (nearly) every row, or of nearly all.

    The latter are columns that by themselves predict rows left out almost perfectly, far better than any other:
    AUC, or share of the variance, of at least 0.97. A strong honest feature does not.
    """
    guesses = list(guesses)
    part = sample.gather_every(-(-len(sample) // MAX_ROWS))
    if len(part) < MIN_ROWS:
        return
    targets = [guess for guess in guesses if guess.role == TARGET]
    for target in targets:
        y = _target_values(part[target.name], target)
        about = f" ({target.name!r})" if len(targets) > 1 else ""
        for leak in _leaks_of(part, y, guesses):
            yield Leak(leak.column, leak.certain, leak.reason + about)


def _target_values(values: pl.Series, guess: Guess) -> pl.Series:
    """Return a target as numbers, with the value of --positive as 1."""
    positive = {key: value for step in guess.steps for key, value in step.settings}.get("positive")
    if positive is not None:
        values = (
            values.alias("y").cast(pl.String) == str(positive) if isinstance(positive, str) else values == positive
        )
    return values.alias("y").cast(pl.Float64).fill_nan(None)


def _leaks_of(part: pl.DataFrame, y: pl.Series, guesses: Iterable[Guess]) -> Iterator[Leak]:
    binary = set(y.drop_nulls().unique()) <= {0.0, 1.0}
    scores: dict[str, float] = {}
    for guess in guesses:
        if guess.role not in (CATEGORICAL, CONTINUOUS) or guess.stats.is_list or guess.stats.separator:
            continue
        numeric = guess.stats.value_kind in ("integers", "decimals", "booleans")
        x = part[guess.name].alias("x")  # Polars' own methods of a series take its name for a pattern
        x = x.cast(pl.Float64).fill_nan(None) if numeric else x.cast(pl.String)
        pairs = pl.DataFrame({"x": x, "y": y})
        if reason := _gives_away(pairs, numeric, binary):
            yield Leak(guess.name, True, reason)
        else:
            scores[guess.name] = _score(pairs.drop_nulls("y"), guess.role == CONTINUOUS, binary)
    likely = {name: score for name, score in scores.items() if score >= NEARLY}
    best = max((score for score in scores.values() if score < NEARLY), default=0.5 if binary else 0.0)
    for name, score in likely.items():
        if 1 - score <= APART * (1 - max(best, 0.5 if binary else 0.0)):
            measure = f"AUC {score:.4f}" if binary else f"{score:.1%} of its variance"
            yield Leak(
                name, False, f"it alone predicts the target with {measure}, the next best column {best:.2g}"
            )


def _gives_away(pairs: pl.DataFrame, numeric: bool, binary: bool) -> str | None:
    """Return how x gives y away; None if it does not."""
    if numeric and (pairs["x"] == pairs["y"]).all() and not pairs["x"].null_count():
        return "it is equal to the target in every row"
    if numeric and (order := _orders(pairs.drop_nulls(), binary)):
        return order
    return "each of its values has only one value of the target" if _determines(pairs, binary) else None


def _orders(pairs: pl.DataFrame, binary: bool) -> str | None:
    """Return how well sorting by x sorts y, up or down; None if not (nearly) perfectly."""
    if len(pairs) < MIN_ROWS or pairs["y"].n_unique() < 2 or pairs["x"].n_unique() < 2:
        return None
    if binary:
        if min(pairs["y"].sum(), len(pairs) - pairs["y"].sum()) < 5:
            return None
        auc = metrics.auc(pairs["y"], pairs["x"])
        auc = max(auc, 1 - auc)
        return f"rows sorted by it reach AUC {auc:.4f}" if auc > MIN_SCORE else None
    correlation = pairs.select(pl.corr("x", "y", method="spearman")).item()
    if abs(correlation or 0.0) <= MIN_SCORE:
        return None
    return f"it is in the order of the target (rank correlation {correlation:.4f})"


def _determines(pairs: pl.DataFrame, binary: bool) -> bool:
    """Return whether each value of x, null included, has only one y, though values repeat."""
    groups = pairs.group_by("x").agg(pl.col("y").n_unique().alias("targets"), pl.col("y").first(), pl.len())
    if not 1 < len(groups) <= len(pairs) / MIN_ROWS_PER_VALUE or groups["targets"].max() != 1:
        return False
    # Values that occur once prove nothing about a rare class.
    rows = groups.group_by("y").agg(pl.col("len").mean())["len"]
    return not binary or bool((rows >= MIN_ROWS_PER_VALUE / 2).all())


# ---- how well one column predicts -----------------------------------------------------------------------------
def _score(pairs: pl.DataFrame, ranges: bool, binary: bool) -> float:
    """Return the AUC of y by x alone, or the share of y's variance that x explains: of rows that were left out
    when the means of y by the values of x, or by ranges of numbers, were taken."""
    if len(pairs) < MIN_ROWS or pairs["y"].n_unique() < 2:
        return 0.0
    if binary and min(pairs["y"].sum(), len(pairs) - pairs["y"].sum()) < 20:
        return 0.0
    x = pairs["x"]
    if ranges and x.dtype.is_numeric():
        x = pl.Series("x", number_bins(x, quantile_edges(x, _RANGES)))
    groups = pl.DataFrame({"x": x}).select(pl.col("x").rank("dense").fill_null(0)).to_series().to_numpy()
    y = pairs["y"].to_numpy()
    predicted = _out_of_fold_means(groups.astype(np.int64), y)
    if binary:
        return metrics.auc(y, predicted)
    return max(0.0, 1.0 - float(np.mean((y - predicted) ** 2) / np.var(y)))


def _out_of_fold_means(groups: NDArray[np.int64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    folds = np.random.default_rng(_SEED).integers(0, _FOLDS, len(y))
    predicted, size = np.empty(len(y)), int(groups.max()) + 1
    for fold in range(_FOLDS):
        out = folds == fold
        mean = y[~out].mean() if (~out).any() else 0.0
        sums = np.bincount(groups[~out], y[~out], size) + _SMOOTHING * mean
        predicted[out] = (sums / (np.bincount(groups[~out], minlength=size) + _SMOOTHING))[groups[out]]
    return predicted
