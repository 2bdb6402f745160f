"""Find features that give the target away: copies of it, and values that are only known once it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from kerasrec.cli.guess_roles import CATEGORICAL, CONTINUOUS, TARGET, Guess
from kerasrec.datasets import metrics

MAX_ROWS = 100_000  # of a sample that are compared
MIN_ROWS = 50  # fewer may be in the order of the target by chance
MIN_ROWS_PER_VALUE = 10  # on average; with fewer, one target per value may be chance
MIN_SCORE = 0.9995  # AUC or rank correlation


def leaks(sample: pl.DataFrame, guesses: Iterable[Guess]) -> Iterator[tuple[str, str]]:
    """Yield each feature that alone gives away the target of (nearly) every row, and how it does."""
    guesses = list(guesses)
    (target,) = (guess.name for guess in guesses if guess.role == TARGET)
    part = sample.gather_every(-(-len(sample) // MAX_ROWS))
    y = part[target].alias("y").cast(pl.Float64).fill_nan(None)
    if len(part) < MIN_ROWS:
        return
    binary = set(y.drop_nulls().unique()) <= {0.0, 1.0}
    for guess in guesses:
        if guess.role not in (CATEGORICAL, CONTINUOUS) or guess.stats.is_list:
            continue
        numeric = guess.stats.value_kind in ("integers", "decimals", "booleans")
        x = part[guess.name].alias("x")  # Polars' own methods of a series take its name for a pattern
        x = x.cast(pl.Float64).fill_nan(None) if numeric else x
        pairs = pl.DataFrame({"x": x, "y": y})
        if numeric and (x == y).all() and not x.null_count():
            yield guess.name, "it is equal to the target in every row"
        elif numeric and (order := _orders(pairs.drop_nulls(), binary)):
            yield guess.name, order
        elif _determines(pairs, binary):
            yield guess.name, "each of its values has only one value of the target"


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
