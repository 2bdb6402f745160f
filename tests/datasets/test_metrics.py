"""AUC and log loss against their definitions."""

import math

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from kerasrec.datasets import metrics

ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=1, max_size=60)


def pairs_in_order(labels, scores):
    """The share of (positive, negative) pairs in the right order, one pair after the other."""
    above = [s for y, s in zip(labels, scores, strict=True) if y]
    below = [s for y, s in zip(labels, scores, strict=True) if not y]
    wins = sum((p > n) + (p == n) / 2 for p in above for n in below)
    return wins / (len(above) * len(below)) if above and below else math.nan


@given(ROWS)
def test_auc_is_the_share_of_pairs_in_order(rows):
    labels, scores = zip(*rows, strict=True)
    assert metrics.auc(labels, scores) == pytest.approx(pairs_in_order(labels, scores), abs=1e-12, nan_ok=True)


@given(ROWS)
def test_auc_of_counts_adds_up_over_chunks(rows):
    counts = np.zeros((2, 7))
    for label, score in rows:
        counts[label, score + 3] += 1
    labels, scores = zip(*rows, strict=True)
    expected = metrics.auc(labels, scores)
    assert metrics.auc_of_counts(counts[1], counts[0]) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_log_loss_by_hand():
    expected = -(math.log(0.9) + math.log(0.8) + math.log(1e-12)) / 3
    assert metrics.log_loss([1, 0, 1], [0.9, 0.2, 1e-12]) == pytest.approx(expected, rel=1e-12)
    clipped = -(math.log(0.9) + math.log(0.8) + math.log(1e-3)) / 3
    assert metrics.log_loss([1, 0, 1], [0.9, 0.2, 0.0], epsilon=1e-3) == pytest.approx(clipped, rel=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_loss_of_certain_predictions_is_scikit_learns(dtype):
    labels, predicted = [1, 0, 1, 0, 1], np.array([0, 1, 1, 0, 0.25], dtype)
    assert metrics.log_loss(labels, predicted) == pytest.approx(sklearn.metrics.log_loss(labels, predicted))


def test_rmse_by_hand():
    assert metrics.rmse([[1], [2], [3]], [2, 2, 5]) == pytest.approx(math.sqrt(5 / 3))


@pytest.mark.parametrize("score", [metrics.auc, metrics.log_loss])
def test_bad_labels_are_refused(score):
    with pytest.raises(ValueError, match="0 or 1"):
        score([0, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match="3 labels, but 2 scores"):
        score([0, 1, 1], [0.1, 0.2])


def test_a_row_of_weight_two_counts_as_two():
    rng = np.random.default_rng(0)
    labels, scores, weights = rng.integers(0, 2, 200), rng.random(200).round(1), rng.integers(0, 3, 200)
    many = np.repeat(labels, weights), np.repeat(scores, weights)
    assert metrics.auc(labels, scores, weights) == pytest.approx(metrics.auc(*many))
    assert metrics.log_loss(labels, scores, weights=weights) == pytest.approx(metrics.log_loss(*many))
    assert metrics.rmse(labels, scores, weights) == pytest.approx(metrics.rmse(*many))
