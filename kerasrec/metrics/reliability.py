"""`reliability`: predicted probabilities against observed rates, bin by bin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reliability:
    """What a reliability diagram shows: one entry per bin that has rows, by ascending probability.

    Attributes:
        predicted: the mean predicted probability of each bin, (n,).
        observed: the rate of positives, (n,).
        weight: the weight of its rows, their number without weights, (n,).
    """

    predicted: Floats
    observed: Floats
    weight: Floats

    @property
    def error(self) -> float:
        """The expected calibration error: the mean of |observed - predicted| over rows; NaN without rows."""
        total = self.weight.sum()
        return float(self.weight @ np.abs(self.observed - self.predicted) / total) if total else float("nan")


def reliability(
    labels: ArrayLike, probabilities: ArrayLike, bins: int = 10, weights: ArrayLike | None = None
) -> Reliability:
    """Return mean predictions and observed rates of bins with equally many rows, by ascending probability.

    Args:
        labels: 0 or 1, any shape.
        probabilities: as many.
        bins: how many; rows of equal probability are in one bin, so there may be fewer.
        weights: of rows, as many; by default 1.

    Raises:
        ValueError: sizes differ, a label is neither 0 nor 1, a probability is NaN or outside [0, 1], or bins < 1.

    Example:

    >>> kr.metrics.reliability([0, 0, 1, 1], [0.1, 0.3, 0.6, 0.8], bins=2).observed
    array([0., 1.])

    Source: [Guo et al., 2017](https://arxiv.org/abs/1706.04599); bins of equally many rows as in [Nguyen and
    O'Connor, 2015](https://arxiv.org/abs/1508.05154).
    """
    truth, p = np.ravel(labels).astype(np.float64), np.ravel(probabilities).astype(np.float64)
    w = np.ones_like(truth) if weights is None else np.ravel(weights).astype(np.float64)
    if not truth.size == p.size == w.size:
        raise ValueError(f"{truth.size} labels, {p.size} probabilities, {w.size} weights; pass equally many")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("probabilities must be in [0, 1]")
    if bins < 1:
        raise ValueError(f"bins must be an integer >= 1; got {bins}")
    edges = np.unique(np.quantile(p, np.arange(1, bins) / bins, method="lower")) if p.size else p
    bin_of = np.searchsorted(edges, p, side="right")
    weight, labels_sum, p_sum = (
        np.bincount(bin_of, weights=values, minlength=1).astype(np.float64) for values in (w, w * truth, w * p)
    )
    used = weight > 0
    return Reliability(p_sum[used] / weight[used], labels_sum[used] / weight[used], weight[used])
