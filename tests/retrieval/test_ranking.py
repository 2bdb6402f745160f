"""Exact top-k and ranks of targets, compared with full sorts in float64."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kerasrec.retrieval import FunctionScores, Lists, VectorScores, target_ranks, target_ranks_of, top_k, top_k_of
from kerasrec.retrieval import scores as scores_module
from kerasrec.retrieval.blas import blas_threads
from kerasrec.retrieval.ranking import ranking_of

SIMILARITIES = ["dot", "cosine", "l2"]


def reference_scores(queries, candidates, similarity):
    q, c = np.asarray(queries, np.float64), np.asarray(candidates, np.float64)
    if similarity == "l2":
        return -((q[:, None] - c[None]) ** 2).sum(-1)
    if similarity == "cosine":
        q, c = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (q, c))
    return q @ c.T


def reference_ranks(scores, targets, exclude=None):
    """Sort each row with the targets after others of the same score; no target is left out."""
    out = []
    for i, row in enumerate(targets):
        s = scores[i].copy()
        s[[e for e in (exclude[i] if exclude else []) if e >= 0 and e not in row]] = -np.inf
        own = np.isin(np.arange(len(s)), row)
        order = np.lexsort((own, -s))
        rank = np.empty(len(s), int)
        rank[order] = np.arange(len(s))
        out += [len(s) if t < 0 else rank[t] for t in row]
    return np.array(out, int)


def small_integers(rng, *shape):
    """Return vectors whose products are exact, with many ties."""
    return rng.integers(-2, 3, shape).astype(np.float32)


@pytest.fixture
def small_blocks(monkeypatch):
    """Have several blocks in a small example."""
    monkeypatch.setattr(scores_module, "QUERIES", 1)
    monkeypatch.setattr(scores_module, "CACHE_BYTES", 4 * 7 * 211)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("k", [1, 5, 40, 211, 300])
def test_top_k_is_the_head_of_a_full_sort(similarity, k, small_blocks):
    rng = np.random.default_rng(0)
    queries, candidates = rng.normal(size=(23, 9)), rng.normal(size=(211, 9))
    exclude = [rng.choice(211, 30, replace=False) for _ in range(23)]
    best = top_k(queries, candidates, k, similarity=similarity, exclude=Lists.of(exclude))
    expected = reference_scores(queries, candidates, similarity)
    for i, row in enumerate(exclude):
        expected[i, row] = -np.inf
    order = np.argsort(-expected, axis=1, kind="stable")[:, :k]
    values = np.take_along_axis(expected, order, axis=1)
    order[values == -np.inf] = -1
    width = min(k, 211)
    np.testing.assert_array_equal(best.rows[:, :width], order)
    np.testing.assert_allclose(best.scores[:, :width], values, rtol=1e-10)
    assert best.rows.shape == (23, k)
    assert (best.rows[:, width:] == -1).all()


def test_of_equal_scores_the_first_candidate_is_recommended():
    rng = np.random.default_rng(1)
    queries, candidates = small_integers(rng, 50, 4), small_integers(rng, 301, 4)
    expected = np.argsort(-(queries @ candidates.T), axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(top_k(queries, candidates, 10).rows, expected)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_ranks_of_targets_are_those_of_a_full_sort(similarity, small_blocks):
    rng = np.random.default_rng(2)
    queries, candidates = rng.normal(size=(40, 9)), rng.normal(size=(211, 9))
    targets = [rng.choice(211, rng.integers(0, 5), replace=False) for _ in range(40)]
    exclude = [rng.choice(211, 30) for _ in range(40)]
    ranks = target_ranks(queries, candidates, Lists.of(targets), similarity=similarity, exclude=Lists.of(exclude))
    expected = reference_ranks(reference_scores(queries, candidates, similarity), targets, exclude)
    np.testing.assert_array_equal(ranks, expected)


@pytest.mark.parametrize("make", [small_integers, lambda rng, *shape: rng.normal(size=shape)])
@pytest.mark.parametrize(
    ("count", "at"), [(211, (1, 5)), (211, (40,)), (211, (300,)), (1500, (1, 5)), (1500, (50,))]
)
def test_ranks_within_the_first_places_are_those_of_a_full_sort(count, at, make):
    """Any rank of the others is as good as another, as long as it is not within these places."""
    rng = np.random.default_rng(5)
    queries, candidates = make(rng, 60, 7), make(rng, count, 7)
    targets = [np.sort(rng.choice(count, rng.integers(0, 4), replace=False)) for _ in range(60)]
    exclude = [rng.choice(count, 30) for _ in range(60)]
    lists = {"targets": Lists.of(targets), "exclude": Lists.of(exclude)}
    ranks, covered, seen = ranking_of(VectorScores(queries, candidates), at=at, **lists)
    expected = reference_ranks(reference_scores(queries, candidates, "dot"), targets, exclude)
    within = expected < max(at)
    np.testing.assert_array_equal(ranks[within], expected[within])
    assert (ranks[~within] >= max(at)).all() or count < max(at)
    others = Lists.of([[e for e in row if e not in own] for row, own in zip(exclude, targets, strict=True)])
    best = top_k(queries, candidates, max(at), exclude=others).rows
    for k in at:
        np.testing.assert_array_equal(np.flatnonzero(covered[k]), np.setdiff1d(best[:, :k], [-1]))
    assert seen == sum(len(np.intersect1d(row, own)) for row, own in zip(exclude, targets, strict=True))


@pytest.mark.parametrize("most", [1, 4, 30])
def test_ties_count_against_the_model(most):
    rng = np.random.default_rng(3)
    queries, candidates = small_integers(rng, 60, 3), small_integers(rng, 97, 3)
    targets = [np.sort(rng.choice(97, rng.integers(0, most + 1), replace=False)) for _ in range(60)]
    expected = reference_ranks(queries @ candidates.T, targets)
    np.testing.assert_array_equal(target_ranks(queries, candidates, Lists.of(targets)), expected)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("count", [1, 2, 15, 33, 700])
def test_a_model_of_equal_vectors_is_as_bad_as_can_be(count, similarity):
    """Products of equal vectors differ in their last digit, by where the vectors stand."""
    rng = np.random.default_rng(4)
    queries = rng.normal(size=(70, 50)).astype(np.float32)
    candidates = np.repeat(rng.normal(size=(1, 50)), count, axis=0).astype(np.float32)
    targets = Lists.one_per_row(rng.integers(0, count, 70))
    ranks = target_ranks(queries, candidates, targets, similarity=similarity)
    np.testing.assert_array_equal(ranks, count - 1)


def test_candidates_of_equal_vectors_tie_among_others():
    rng = np.random.default_rng(7)
    queries, vectors = rng.normal(size=(2, 40, 33)).astype(np.float32)
    place = rng.integers(0, 40, 200)
    place[:40] = np.arange(40)
    vectors[0, 3] = 0.0
    candidates = vectors[place]
    candidates[place == 0, 3] *= np.where(np.arange((place == 0).sum()) % 2, -1, 1)  # 0.0 equals -0.0
    exact = (queries.astype(np.float64) @ vectors.astype(np.float64).T)[:, place]
    targets = Lists.one_per_row(rng.integers(0, 200, 40))
    ranks = target_ranks(queries, candidates, targets)
    np.testing.assert_array_equal(ranks, reference_ranks(exact, targets.values[:, None]))
    best = top_k(queries, candidates, 30)
    np.testing.assert_array_equal(best.rows, np.argsort(-exact, axis=1, kind="stable")[:, :30])


@pytest.mark.parametrize("count", [3, 9, 40, 700])
@pytest.mark.parametrize("at", [(1,), (2, 5), (3, 50)])
def test_ranks_with_coverage_are_the_same_up_to_the_greatest_k(count, at):
    rng = np.random.default_rng(count)
    for integers in (True, False):
        block = rng.integers(0, 9, (30, count)).astype(np.float32) if integers else rng.normal(size=(30, count))
        scores = FunctionScores(lambda start, stop, block=block: block[start:stop], 30, count)
        rows = [rng.choice(count, rng.integers(0, min(count, 4)), replace=False) for _ in range(30)]
        targets, seen = Lists.of(rows), Lists.of(rng.integers(-1, count, (30, 2)))
        ranks, covered, _ = ranking_of(scores, targets, at, exclude=seen)
        whole = target_ranks_of(scores, targets, exclude=seen)
        # From the greatest k on any rank may stand for a candidate; the number of candidates for none.
        expected = np.where(whole == count, count, np.minimum(whole, max(at)))
        np.testing.assert_array_equal(np.where(ranks == count, count, np.minimum(ranks, max(at))), expected)
        best = top_k_of(scores, max(at), exclude=seen.without(targets)).rows
        for k in at:
            np.testing.assert_array_equal(np.flatnonzero(covered[k]), np.setdiff1d(best[:, :k], [-1]))


def test_a_target_that_is_no_candidate_ranks_last_and_one_that_was_seen_is_ranked():
    targets, exclude = Lists.of([[-1, 2], [1], []]), Lists.of([[0, -1], [0, 1], [0, 1, 2]])
    ranks = target_ranks(np.ones((3, 1)), np.array([[3.0], [2.0], [1.0]]), targets, exclude=exclude)
    np.testing.assert_array_equal(ranks, [3, 1, 0])
    exclude = Lists.of([[0, -1], [1], [0, 1, 2]])
    best = top_k(np.ones((3, 1)), np.array([[3.0], [2.0], [1.0]]), 2, exclude=exclude)
    np.testing.assert_array_equal(best.rows, [[1, 2], [0, 2], [-1, -1]])


def test_scores_of_a_function_are_ranked_the_same(small_blocks):
    rng = np.random.default_rng(5)
    queries, candidates = rng.normal(size=(40, 9)), rng.normal(size=(211, 9))
    scores = FunctionScores(lambda start, stop: queries[start:stop] @ candidates.T, 40, 211)
    targets = Lists.one_per_row(rng.integers(0, 211, 40))
    np.testing.assert_array_equal(top_k_of(scores, 7).rows, top_k(queries, candidates, 7).rows)
    expected = target_ranks(queries, candidates, targets)
    np.testing.assert_array_equal(target_ranks_of(scores, targets), expected)


def test_rankings_in_several_threads_leave_the_threads_of_products_as_they_were(small_blocks):
    rng = np.random.default_rng(8)
    queries, candidates = rng.normal(size=(40, 9)), rng.normal(size=(211, 9))
    before, expected = blas_threads(), top_k(queries, candidates, 5).rows
    with ThreadPoolExecutor(3) as pool:
        for rows in pool.map(lambda _: top_k(queries, candidates, 5).rows, range(6)):
            np.testing.assert_array_equal(rows, expected)
    assert blas_threads() == before


def test_a_function_keeps_its_array_unchanged():
    values = np.arange(6.0).reshape(2, 3)
    best = top_k_of(FunctionScores(lambda start, stop: values[start:stop], 2, 3), 1, exclude=Lists.of([[2], []]))
    np.testing.assert_array_equal(best.rows, [[1], [2]])
    np.testing.assert_array_equal(values, np.arange(6.0).reshape(2, 3))


def test_near_duplicates_far_from_the_origin_keep_their_order_by_distance():
    rng = np.random.default_rng(6)
    candidates = (1000 + rng.normal(size=(200, 8))).astype(np.float32)
    queries = (1000 + rng.normal(size=(30, 8))).astype(np.float32)
    expected = reference_scores(queries, candidates, "l2").argmax(axis=1)
    np.testing.assert_array_equal(top_k(queries, candidates, 1, similarity="l2").rows[:, 0], expected)


@pytest.mark.parametrize(("queries", "candidates"), [(0, 5), (3, 0), (0, 0), (1, 1)])
def test_no_query_no_candidate_and_one_of_each(queries, candidates):
    q, c = np.ones((queries, 2)), np.ones((candidates, 2))
    for similarity in SIMILARITIES:
        best = top_k(q, c, 3, similarity=similarity)
        assert best.rows.shape == best.scores.shape == (queries, 3)
        assert (best.rows >= 0).sum() == queries * candidates
    targets = Lists.one_per_row(np.full(queries, candidates - 1))
    np.testing.assert_array_equal(target_ranks(q, c, targets), np.zeros(queries))


def test_a_vector_of_length_zero_scores_zero_by_cosine():
    best = top_k(np.array([[1.0, 0.0]]), np.array([[0.0, 0.0], [2.0, 0.0], [-1.0, 0.0]]), 3, similarity="cosine")
    np.testing.assert_array_equal(best.rows, [[1, 0, 2]])
    np.testing.assert_array_equal(best.scores, [[1.0, 0.0, -1.0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": np.array([[1.0, np.nan]])}, "queries, row 0: the vector has numbers that are not finite"),
        ({"candidates": np.ones((3, 3))}, "queries are 2 wide, candidates 3"),
        ({"queries": np.ones(2)}, r"queries must be \(n, d\) vectors; got the shape \(2,\)"),
        ({"similarity": "euclid"}, 'similarity must be "dot", "cosine" or "l2"; got \'euclid\''),
        ({"targets": Lists.of([[3]])}, r"targets, row 0: position 3 is out of range \[0, 3\)"),
        ({"targets": Lists.of([[1, 1]])}, "targets, row 0: position 1 is listed twice"),
        ({"targets": Lists.of([[1], [1]])}, "targets has 2 rows for 1 queries"),
        ({"exclude": Lists.of([])}, "exclude has 0 rows for 1 queries"),
    ],
)
def test_what_cannot_be_ranked_is_refused(change, message):
    arguments = {"queries": np.ones((1, 2)), "candidates": np.ones((3, 2)), "targets": Lists.of([[0]])} | change
    with pytest.raises(ValueError, match=message):
        target_ranks(**arguments)


def test_k_and_offsets_are_checked():
    with pytest.raises(ValueError, match="k must be an integer >= 1; got 0"):
        top_k(np.ones((1, 2)), np.ones((3, 2)), 0)
    with pytest.raises(ValueError, match="offsets must increase from 0 to the number of values, 2"):
        Lists(np.array([1, 2]), np.array([0, 1]))
    with pytest.raises(ValueError, match=r"values must be \(n,\) integers; got \(1,\) of float64"):
        Lists(np.array([1.5]), np.array([0, 1]))


def test_scores_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="a score of query 1 is NaN"):
        top_k_of(FunctionScores(lambda a, b: np.array([[1.0, 2.0], [np.nan, 1.0]]), 2, 2), 1)
    with pytest.raises(ValueError, match=r"must be floats of shape \(2, 3\); got float64 of shape \(2, 2\)"):
        top_k_of(FunctionScores(lambda a, b: np.ones((2, 2)), 2, 3), 1)
