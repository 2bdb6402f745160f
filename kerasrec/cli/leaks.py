"""Columns that give the target away: copies of it, and what is known only once it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from kerasrec.cli.guess import CATEGORICAL, CONTINUOUS, TARGET, Guess
from kerasrec.datasets import metrics

ROWS = 100_000  # of a sample, that are looked at
FEWEST = 50  # among fewer rows a column may order the target by chance
REPEATED = 10  # rows per value, in the mean, from which on one target per value is no chance
SURE = 0.9995


def leaks(sample: pl.DataFrame, guesses: Iterable[Guess]) -> Iterator[tuple[str, str]]:
    """Name a feature, and say how it alone tells the target of every row, or nearly every."""
    guesses = list(guesses)
    (target,) = (guess.name for guess in guesses if guess.role == TARGET)
    part = sample.gather_every(-(-len(sample) // ROWS))
    y = part[target].alias("y").cast(pl.Float64).fill_nan(None)
    if len(part) < FEWEST:
        return
    binary = set(y.drop_nulls().unique()) <= {0.0, 1.0}
    for guess in guesses:
        if guess.role not in (CATEGORICAL, CONTINUOUS) or guess.facts.is_list:
            continue
        numeric = guess.facts.holds in ("integers", "decimals", "booleans")
        x = part[guess.name].alias("x")  # Polars' own methods of a series take its name for a pattern
        x = x.cast(pl.Float64).fill_nan(None) if numeric else x
        pairs = pl.DataFrame({"x": x, "y": y})
        if numeric and (x == y).all() and not x.null_count():
            yield guess.name, "is equal to it in every row"
        elif numeric and (said := _orders(pairs.drop_nulls(), binary)):
            yield guess.name, said
        elif _determines(pairs, binary):
            yield guess.name, "each of its values comes with one value of the target only"


def _orders(pairs: pl.DataFrame, binary: bool) -> str | None:
    """Whether sorting by x sorts y too, up or down."""
    if len(pairs) < FEWEST or pairs["y"].n_unique() < 2 or pairs["x"].n_unique() < 2:
        return None
    if binary:
        if min(pairs["y"].sum(), len(pairs) - pairs["y"].sum()) < 5:
            return None
        auc = metrics.auc(pairs["y"], pairs["x"])
        return f"sorted by it alone, rows reach AUC {max(auc, 1 - auc):.4f}" if max(auc, 1 - auc) > SURE else None
    rank = pairs.select(pl.corr("x", "y", method="spearman")).item()
    return f"its order is that of the target (rank correlation {rank:.4f})" if abs(rank or 0.0) > SURE else None


def _determines(pairs: pl.DataFrame, binary: bool) -> bool:
    """Whether no value of x, null included, comes with two of y, though values are repeated."""
    groups = pairs.group_by("x").agg(pl.col("y").n_unique().alias("targets"), pl.col("y").first(), pl.len())
    if not 1 < len(groups) <= len(pairs) / REPEATED or groups["targets"].max() != 1:
        return False
    rows = groups.group_by("y").agg(pl.col("len").mean())["len"]  # of a rare class, values seen once tell nothing
    return not binary or bool((rows >= REPEATED / 2).all())
