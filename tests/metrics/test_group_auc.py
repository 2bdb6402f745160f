"""`kr.metrics.GroupAUC` against scikit-learn's AUC of each group."""

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import kerasrec as kr

RNG = np.random.default_rng(2)


def by_hand(labels, scores, groups, weights, weighting):
    aucs, shares = [], []
    for group in np.unique(groups):
        rows = (groups == group) & (weights > 0)
        if len(set(labels[rows])) == 2:
            aucs.append(roc_auc_score(labels[rows], scores[rows], sample_weight=weights[rows]))
            w = weights[rows]
            shares.append({"rows": w.sum(), "positives": w[labels[rows] == 1].sum(), "equal": 1}[weighting])
    return np.average(aucs, weights=shares)


@pytest.mark.parametrize("weighting", ["rows", "positives", "equal"])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_mean_of_the_groups_auc(weighting, weighted):
    n = 2000
    groups, scores = RNG.integers(-50, 250, n) * 10**12, RNG.integers(0, 30, n) / 30
    labels = (RNG.random(n) < scores).astype(int)
    weights = RNG.integers(0, 3, n) if weighted else np.ones(n)
    metric = kr.metrics.GroupAUC(weighting=weighting, capacity=4096)
    for start in range(0, n, 130):
        part = slice(start, start + 130)
        weight = weights[part] if weighted else None
        metric.update_state(labels[part], scores[part], weight, groups=groups[part])
    expected = by_hand(labels, scores, groups, weights, weighting)
    assert abs(float(metric.result()) - expected) < 1e-6
    with metric.results_of(
        step=True
    ):  # as a progress bar shows it: of fewer rows here, those before the last renewal
        assert abs(float(metric.result()) - expected) < 0.1
    columns = (keras.ops.convert_to_tensor(column) for column in metric.rows())
    assert abs(float(metric.sample_value(list(columns))) - expected) < 1e-6
    counts = metric.counts()
    assert counts.groups + counts.groups_left_out == len(np.unique(groups[weights > 0]))
    assert counts.rows + counts.rows_left_out == (weights > 0).sum()


def test_groups_of_one_class_are_left_out_and_without_others_it_is_nan():
    metric = kr.metrics.GroupAUC(capacity=16)
    assert np.isnan(float(metric.result()))
    metric.update_state([0, 0, 1], [0.1, 0.2, 0.3], groups=[1, 1, 2])
    assert np.isnan(float(metric.result()))
    assert (metric.counts().groups_left_out, metric.counts().rows_left_out) == (2, 3)


def test_more_rows_than_its_capacity_make_it_nan_with_a_warning():
    metric = kr.metrics.GroupAUC(capacity=4)
    for _ in range(2):
        metric.update_state([0, 1, 1], [0.1, 0.2, 0.3], groups=[1, 1, 2])
    with pytest.warns(UserWarning, match="2 rows are beyond its capacity of 4"):
        assert np.isnan(float(metric.result()))
    metric.reset_state()
    metric.update_state([0, 1], [0.1, 0.2], groups=[1, 1])
    assert float(metric.result()) == 1


def test_what_it_cannot_use_is_refused():
    metric = kr.metrics.GroupAUC("user", capacity=4)
    with pytest.raises(ValueError, match="gauc: no groups.* which reads 'user'"):
        metric.update_state([0], [0.1])
    with pytest.raises(ValueError, match="groups must be integers; got"):
        metric.update_state([0], [0.1], groups=[0.5])
    with pytest.raises(ValueError, match="gauc: 2 groups for 1 rows"):
        metric.update_state([0], [0.1], groups=[1, 2])
    with pytest.raises(ValueError, match="weighting must be 'rows', 'positives' or 'equal'; got 'users'"):
        kr.metrics.GroupAUC(weighting="users")


def test_its_config_makes_the_same_metric():
    metric = kr.metrics.GroupAUC("user", "positives", capacity=8)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert copy.get_config() == metric.get_config()
