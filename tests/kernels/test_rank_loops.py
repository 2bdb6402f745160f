"""Counts of scores and the columns among the best, compiled and in NumPy, as a sort of each row has them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec.kernels import ranks


@pytest.fixture(params=["compiled", "NumPy"])
def way(request, monkeypatch):
    if request.param == "NumPy":
        monkeypatch.setattr(ranks, "compiled", lambda: None)
    else:
        assert ranks.compiled() is not None


@st.composite
def blocks(draw):
    """Scores with ties, zeros of both signs and excluded columns, of widths around those of the vectors."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.integers(0, 5)), draw(st.integers(1, 70) | st.sampled_from([1023, 1024, 1025, 2100]))
    scores = rng.integers(-3, 4, shape) if draw(st.booleans()) else rng.normal(size=shape)
    scores = scores.astype(draw(st.sampled_from(["float32", "float64"])))
    scores[(scores == 0) & (rng.random(shape) < 0.5)] = -0.0
    scores[rng.random(shape) < draw(st.sampled_from([0, 0.2, 0.9]))] = -np.inf
    return scores


@settings(max_examples=80)
@given(scores=blocks(), at=st.sets(st.integers(1, 80), min_size=1, max_size=4), seed=st.integers(0, 99))
def _check(scores, at, seed):
    rng = np.random.default_rng(seed)
    at = sorted(at)
    before = rng.integers(0, len(at) + 1, scores.shape[1]).astype(np.uint8)
    expected = before.copy()
    for row in scores.tolist():
        order = sorted((j for j in range(len(row)) if row[j] > -np.inf), key=lambda j: (-row[j], j))
        for k in at:
            for j in order[:k]:
                expected[j] = max(expected[j], sum(other >= k for other in at))
    levels = before.copy()
    ranks.cover(scores, at, levels)
    np.testing.assert_array_equal(levels, expected)

    if len(scores):
        rows, columns = rng.integers(0, len(scores), 7), rng.integers(0, scores.shape[1], 7)
        bounds = scores[rows, columns].astype("float64")
        counts = [np.count_nonzero(scores[row] >= bound) for row, bound in zip(rows, bounds, strict=True)]
        np.testing.assert_array_equal(ranks.count_reaching(scores, rows, bounds), counts)


def test_columns_and_counts_are_those_of_a_sort(way):
    _check()


def test_no_rows_and_no_bounds(way):
    levels = np.zeros(3, np.uint8)
    ranks.cover(np.empty((0, 3), np.float32), [1], levels)
    assert not levels.any()
    none = np.empty(0, np.int64)
    assert ranks.count_reaching(np.ones((2, 3), np.float32), none, none).shape == (0,)
