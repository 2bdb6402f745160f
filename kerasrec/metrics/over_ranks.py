"""Rows dealt to ranks by a key, so that each rank computes a part of what is in all ranks' rows together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kerasrec.datasets.metrics import auc_of_counts
from kerasrec.metrics.sorted_scores import Floats, SortedScores
from kerasrec.parallel import comm

SAMPLES = 256  # scores of each rank, by which ranges of scores are dealt out evenly


def exchange(columns: Sequence[NDArray], owners: NDArray[np.integer], name: str) -> list[NDArray]:
    """Send each row to the rank that owns it; return the rows that this rank owns.

    Args:
        columns: (n,) each.
        owners: the rank of each row, (n,).
        name: equal on every rank; every rank must call it.
    """
    order = np.argsort(owners, kind="stable")
    splits = np.bincount(owners, minlength=comm.size()).astype(np.int32)
    return [comm.alltoall(column[order], splits, f"{name}.{i}")[0].numpy() for i, column in enumerate(columns)]


def auc_over_ranks(scores: SortedScores, name: str) -> float:
    """Return the AUC of all ranks' rows. Each rank counts the pairs among the scores of one range.

    No rank gets all rows; equal scores meet on one. To other ranks' rows a range counts as its middle.
    """
    scores = scores.at_middles()
    places = np.linspace(0, len(scores.low) - 1, min(SAMPLES, len(scores.low))).astype(np.int64)
    samples = np.sort(np.concatenate(comm.gather_objects(scores.low[places])))
    bounds = samples[np.arange(1, comm.size()) * len(samples) // comm.size()] if len(samples) else samples
    owners = np.searchsorted(bounds, scores.low, side="right")
    own = SortedScores.of_distinct(*exchange([scores.low, scores.positives, scores.negatives], owners, name))
    share = own.positives.sum(), own.negatives.sum()
    pairs = own.auc() * share[0] * share[1] if share[0] and share[1] else 0.0
    ordered = float(pairs) + scores.surplus / 2  # concordant pairs count 1, discordant ones 0, others half
    return auc_of_parts(np.array(comm.gather_objects([float(share[0]), float(share[1]), ordered])))


def auc_of_parts(parts: Floats) -> float:
    """Return the AUC of rows in ascending ranges of scores.

    Args:
        parts: for each range the weights of its positives, of its negatives, and of its pairs in the right order,
            (n, 3).
    """
    positives, negatives, ordered = parts.T
    every = positives.sum() * negatives.sum()
    between = auc_of_counts(positives, negatives) * every - (positives * negatives).sum() / 2 if every else 0.0
    return float((between + ordered.sum()) / every) if every else float("nan")
