"""AUC and log loss in float64, of arrays and of counts of rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the area under the ROC curve: the share of (positive, negative) pairs in the right order, where ties
    count half (the Mann-Whitney statistic).

    Args:
        labels: 0 or 1, any shape.
        scores: as many; the higher, the more likely a 1.
        weights: as many, >= 0; a pair counts as the product of its two. By default 1.

    Returns:
        A number in [0, 1]; NaN where there are no positives or no negatives.

    Raises:
        ValueError: sizes differ, or a label is neither 0 nor 1.

    Example:

    >>> auc([0, 1, 0, 1], [0.1, 0.8, 0.4, 0.4])
    0.875
    """
    truth, scores = _binary(labels, scores)
    w = np.ones_like(truth) if weights is None else np.ravel(weights)
    _, level = np.unique(scores, return_inverse=True)
    return auc_of_counts(np.bincount(level, weights=w * truth), np.bincount(level, weights=w * (1 - truth)))


def auc_of_counts(positives: ArrayLike, negatives: ArrayLike) -> float:
    """Return the `auc` of rows counted by score: element i counts the rows with the i-th lowest score.

    This is exact, as rows with equal scores are ties, and counts of chunks of rows can be added up.
    """
    pos, neg = np.asarray(positives, np.float64), np.asarray(negatives, np.float64)
    pairs = pos.sum() * neg.sum()
    return float(pos @ (np.cumsum(neg) - neg / 2) / pairs) if pairs else float("nan")


def log_loss(
    labels: ArrayLike, probabilities: ArrayLike, epsilon: float | None = None, weights: ArrayLike | None = None
) -> float:
    """Return the mean of -log(predicted probability of the label), in nats: scikit-learn's `log_loss`.

    Args:
        labels: 0 or 1, any shape.
        probabilities: of a 1, as many; clipped to [epsilon, 1 - epsilon].
        epsilon: by default that of the probabilities' dtype, 1.2e-7 for float32 and 2.2e-16 for float64, so
            that one which is rounded to 0 or 1 does not make the mean infinite.
        weights: of the mean, as many; by default 1.

    Raises:
        ValueError: sizes differ, or a label is neither 0 nor 1.
    """
    return float(np.average(row_log_loss(labels, probabilities, epsilon), weights=_raveled(weights)))


def row_log_loss(labels: ArrayLike, probabilities: ArrayLike, epsilon: float | None = None) -> NDArray[np.float64]:
    """Return -log(predicted probability of the label) of each row, as `log_loss` averages it, (rows,)."""
    truth, p = _binary(labels, probabilities)
    if epsilon is None:
        dtype = np.asarray(probabilities).dtype
        epsilon = float(np.finfo(dtype if np.issubdtype(dtype, np.floating) else np.float64).eps)
    p = np.clip(p, epsilon, 1 - epsilon)
    return -(truth * np.log(p) + (1 - truth) * np.log1p(-p))


def rmse(targets: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the root of the mean squared difference, weighted if there are weights."""
    difference = np.ravel(targets).astype(np.float64) - np.ravel(predictions)
    return float(np.sqrt(np.average(difference**2, weights=_raveled(weights))))


def _raveled(weights: ArrayLike | None) -> NDArray[np.float64] | None:
    return None if weights is None else np.ravel(weights).astype(np.float64)


def _binary(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    truth, scores = np.ravel(labels).astype(np.float64), np.ravel(scores).astype(np.float64)
    if truth.shape != scores.shape:
        raise ValueError(f"{truth.size} labels, but {scores.size} scores; pass equally many")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    return truth, scores
