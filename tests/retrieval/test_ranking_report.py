"""The metrics of a ranking, compared with scikit-learn and with sums written out."""

import json

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from kerasrec.retrieval import Lists, RankingReport, target_ranks


def example(seed=0, queries=60, candidates=83, most=6):
    rng = np.random.default_rng(seed)
    q, c = rng.normal(size=(queries, 8)), rng.normal(size=(candidates, 8))
    targets = Lists.of([rng.choice(candidates, rng.integers(1, most), replace=False) for _ in range(queries)])
    relevant = np.zeros((queries, candidates))
    relevant[targets.row_numbers, targets.values] = 1
    return q, c, targets, relevant


@pytest.mark.parametrize("k", [1, 3, 10, 83])
def test_ndcg_is_that_of_scikit_learn(k):
    q, c, targets, relevant = example()
    report = RankingReport.of(target_ranks(q, c, targets), targets.offsets, candidates=83, at=[k])
    assert report[f"ndcg@{k}"] == pytest.approx(ndcg_score(relevant, q @ c.T, k=k), abs=1e-12)


def test_hit_rate_recall_and_mrr_are_those_of_sorted_lists():
    q, c, targets, relevant = example(1)
    report = RankingReport.of(target_ranks(q, c, targets), targets.offsets, candidates=83, at=(10, 2))
    ordered = np.take_along_axis(relevant, np.argsort(-(q @ c.T), axis=1), axis=1)
    assert report.at == (2, 10)
    for k in report.at:
        head = ordered[:, :k]
        first = np.where(head.any(axis=1), 1 / (head.argmax(axis=1) + 1), 0)
        expected = {
            "hit_rate": head.any(axis=1),
            "recall": head.sum(axis=1) / relevant.sum(axis=1),
            "mrr": first,
        }
        for name, per_query in expected.items():
            assert report[f"{name}@{k}"] == pytest.approx(per_query.mean(), abs=1e-12)
            error = np.std(per_query, ddof=1) / np.sqrt(60)
            assert report.standard_errors[f"{name}@{k}"] == pytest.approx(error, abs=1e-12)


def test_one_target_per_query_is_the_default():
    report = RankingReport.of(np.array([0, 2, 9, 10]), candidates=50, at=10)
    assert report["hit_rate@10"] == report["recall@10"] == 0.75
    assert report["ndcg@10"] == pytest.approx((1 + 1 / 2 + 1 / np.log2(11)) / 4)
    assert report["mrr@10"] == pytest.approx((1 + 1 / 3 + 1 / 10) / 4)


def test_the_report_says_what_was_ranked_and_what_could_not_be():
    ranks, offsets = np.array([0, 5, 5, 1]), np.array([0, 1, 3, 3, 4])
    report = RankingReport.of(
        ranks, offsets, candidates=5, at=(1, 2), exclude_seen=True, covered={1: 2, 2: 4}, targets_seen=1
    )
    text = repr(report).splitlines()
    assert text[0] == "3 queries over 5 candidates, seen items left out"
    assert text[1].split() == ["hit_rate", "recall", "ndcg", "mrr", "coverage"]
    assert text[2].split()[:4] == ["@1", "0.3333", "±", "0.3333"]
    assert text[2].split()[-1] == "0.4000"
    assert text[4] == "1 more queries have no target and are not averaged"
    assert text[5] == "2 of 4 targets are not candidates: they count as missed"
    assert text[6] == "1 of 4 targets were seen before: they are ranked, since no target is left out"
    assert report["recall@2"] == pytest.approx(2 / 3)
    flat = json.loads(json.dumps(report.to_dict()))
    assert flat["queries"] == 3
    assert (flat["targets_out_of_reach"], flat["targets_seen"]) == (2, 1)
    assert flat["coverage@2"] == 0.8
    assert flat["exclude_seen"] is True
    assert flat["ndcg@1_se"] == pytest.approx(1 / 3)


def test_one_query_has_no_standard_error():
    report = RankingReport.of(np.array([0]), candidates=5, at=1)
    assert np.isnan(report.standard_errors["ndcg@1"])
    assert "ndcg@1_se" not in report.to_dict()
    assert "±" not in repr(report)


def test_wrong_names_and_cutoffs_are_refused():
    report = RankingReport.of(np.array([0]), candidates=5, at=1)
    with pytest.raises(KeyError, match="no metric 'ndcg@5'; available: hit_rate@1, recall@1"):
        report["ndcg@5"]
    for at in (0, [], [1, 2.5], True):
        with pytest.raises(ValueError, match="at must be one or several integers >= 1"):
            RankingReport.of(np.array([0]), candidates=5, at=at)
    with pytest.raises(ValueError, match="no query has a target"):
        RankingReport.of(np.array([], int), np.array([0, 0]), candidates=5)
