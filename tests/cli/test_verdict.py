"""Whether a model is any good, said on made-up predictions whose quality is known."""

import numpy as np
import pytest

from kerasrec.cli.run_report import Baseline, TargetReport
from kerasrec.cli.scores import score
from kerasrec.cli.verdict import verdict

RNG = np.random.default_rng(0)
TRUTH = RNG.random(4000)
LABELS = (RNG.random(4000) < TRUTH) * 1.0


def report(predictions, baselines, task="binary", labels=LABELS, weights=None):
    named = {name: Baseline(score(task, labels, p, weights), p) for name, p in baselines.items()}
    scores = score(task, labels, predictions, weights)
    return TargetReport("y", task, labels[:, None], predictions[:, None], [], scores, named, weights=weights)


RATE, HALF = np.full(4000, LABELS.mean()), 0.25 + TRUTH / 2


@pytest.mark.parametrize(
    ("predictions", "better", "said"),
    [
        (TRUTH, True, "The model is better than both baselines: AUC 0.8"),
        (HALF, None, "The model is not clearly better than the baseline 'biases only'"),
        (RNG.random(4000), False, "The model is worse than the baseline 'biases only': its log loss is higher by"),
        (np.where(TRUTH > 0.5, 0.999, 0.001), False, "The model is worse than the baseline 'biases only'"),
    ],
)
def test_a_model_is_compared_with_its_best_baseline(predictions, better, said):
    answer = verdict(report(predictions, {"base rate": RATE, "biases only": HALF}))
    assert answer.better is better
    assert answer.text.startswith(said)
    assert ("--min-count" in answer.text) is not (better is True)


def test_a_model_that_orders_well_but_is_too_sure_is_told_apart():
    sure = np.clip(1 / (1 + np.exp(-12 * (TRUTH - 0.4))), 1e-3, 1 - 1e-3)
    noisy = report(sure, {"biases only": np.clip(HALF + RNG.normal(0, 0.2, 4000), 0.05, 0.95)})
    assert noisy.scores["auc"] > noisy.baselines["biases only"].scores["auc"]
    assert "orders the rows better" in verdict(noisy).text


def test_numbers_are_compared_by_squared_error_and_rows_of_no_weight_do_not_count():
    labels, weights = TRUTH * 10, (np.arange(4000) < 2000) * 1.0
    good_where_it_counts = np.where(weights > 0, labels + 0.1, 1000.0)
    answer = verdict(
        report(good_where_it_counts, {"base rate": np.full(4000, 5.0)}, "regression", labels, weights)
    )
    assert answer.better
    assert answer.text.startswith(
        "The model is better than the baseline 'base rate': RMSE 0.1000, against RMSE 2.9"
    )


def test_without_baselines_only_the_score_is_said():
    answer = verdict(report(TRUTH, {}))
    assert answer.better is None
    assert "there is no baseline" in answer.text
