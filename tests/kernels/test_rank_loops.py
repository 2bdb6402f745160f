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
    shape = draw(st.integers(0, 5)), draw(st.integers(1, 70) | st.sampled_from([511, 512, 513, 2100]))
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
    offsets = np.cumsum([0, *rng.integers(0, 4, len(scores))])
    rows = np.repeat(np.arange(len(scores)), np.diff(offsets))
    bounds = scores[rows, rng.integers(0, scores.shape[1], len(rows))].astype("float64")
    levels = before.copy()
    counts = ranks.count_and_cover(scores, offsets, bounds, at, levels)
    np.testing.assert_array_equal(levels, expected)
    reached = [np.count_nonzero(scores[row] >= bound) for row, bound in zip(rows, bounds, strict=True)]
    np.testing.assert_array_equal(counts, reached)


def test_columns_and_counts_are_those_of_a_sort(way):
    _check()


def test_no_rows_no_columns_and_no_bounds(way):
    levels, none, offsets = np.zeros(3, np.uint8), np.empty(0), np.zeros(3, np.int64)
    counts = ranks.count_and_cover(np.empty((0, 3), np.float32), offsets[:1], none, [1], levels)
    assert len(counts) == 0
    assert not levels.any()
    assert len(ranks.count_and_cover(np.ones((2, 0), np.float32), offsets, none, [1], levels[:0])) == 0
    assert len(ranks.count_and_cover(np.ones((2, 3), np.float32), offsets, none, [], levels)) == 0
    assert not levels.any()
