"""AUC of a few rows within a step of training, with `keras.ops`."""

from __future__ import annotations

from keras import ops

from kerasrec.metrics.on_backend import traced_once
from kerasrec.metrics.segments import differs, numbers, sums
from kerasrec.typing import Tensor


def auc_of_ranges(positives: Tensor, negatives: Tensor) -> Tensor:
    """Return the AUC of rows by ascending score, where those of one entry tie; NaN if a class is missing."""
    below = ops.cumsum(negatives) - negatives / 2
    pairs = ops.sum(positives) * ops.sum(negatives)
    return ops.sum(positives * below) / pairs  # 0 / 0 is NaN


@traced_once
def auc_of_rows(scores: Tensor, weights: Tensor) -> Tensor:
    """Return the AUC of rows whose weights are negated for negatives, (n,) each; traceable."""
    order = ops.argsort(scores)
    scores, weights = ops.take(scores, order), ops.take(weights, order)
    level = numbers(differs(scores))
    size = level.shape[0]
    return auc_of_ranges(sums(ops.maximum(weights, 0), level, size), sums(ops.maximum(-weights, 0), level, size))


@traced_once
def group_auc_of_rows(scores: Tensor, weights: Tensor, groups: Tensor, weighting: str) -> Tensor:
    """Return the weighted mean of the AUCs of groups of rows; NaN if none has both labels; traceable.

    Args:
        scores, weights: as those of `auc_of_rows`.
        groups: integers, (n,).
        weighting: as in `GroupAUC`.
    """
    order = ops.argsort(scores)
    order = ops.take(order, ops.argsort(ops.take(groups, order)))  # stable: by score within a group
    scores, weights, groups = (ops.take(column, order) for column in (scores, weights, groups))
    group, level, size = numbers(differs(groups)), numbers(differs(groups) | differs(scores)), scores.shape[0]
    positives, negatives = ops.maximum(weights, 0), ops.maximum(-weights, 0)

    ties = ops.take(sums(negatives, level, size), level)
    below = ops.take(_before(sums(negatives, level, size)), level) + ties / 2
    below -= ops.take(_before(sums(negatives, group, size)), group)
    p, n, ordered = (sums(values, group, size) for values in (positives, negatives, positives * below))
    weight = {"rows": p + n, "positives": p, "equal": ops.ones_like(p)}[weighting]
    weight = ops.where(p * n > 0, weight, ops.zeros_like(weight))
    return ops.sum(weight * ordered / ops.maximum(p * n, 1e-37)) / ops.sum(weight)  # 0 / 0 is NaN


def _before(values: Tensor) -> Tensor:
    """Return the sum of the values before each one."""
    return ops.cumsum(values) - values
