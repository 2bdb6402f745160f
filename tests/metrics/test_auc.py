"""`kr.metrics.AUC` against scikit-learn, whatever the scores, labels, weights and batches are."""

import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from kerasrec.metrics import AUC

RNG = np.random.default_rng(0)
DISTRIBUTIONS = {
    "probabilities": lambda n: RNG.random(n),
    "54 neighbouring floats": lambda n: 0.02 + 1e-7 * RNG.random(n),
    "heavy ties": lambda n: RNG.integers(0, 5, n) / 5,
    "one score": lambda n: np.full(n, 0.3),
    "logits": lambda n: 20 * RNG.standard_normal(n),
    "infinite logits": lambda n: RNG.choice([-np.inf, -1.0, -0.0, 0.0, np.inf], n),
    "spikes in noise": lambda n: np.where(RNG.random(n) < 0.5, 0.5, RNG.random(n)),
    "float16 logits": lambda n: RNG.standard_normal(n).astype("float16"),
    "ascending": lambda n: np.sort(RNG.random(n)),
    "from the outside in": lambda n: (scores := RNG.random(n))[np.argsort(-np.abs(scores - 0.5))],
    "drifting": lambda n: RNG.standard_normal(n) + 3 * np.arange(n) / n,
    "shrinking": lambda n: RNG.standard_normal(n) * np.exp(-12 * np.arange(n) / n),
    "wide, then narrow": lambda n: np.where(np.arange(n) < n / 4, RNG.random(n), 0.5 + 1e-4 * RNG.random(n)),
}


def streamed(metric, labels, scores, weights=None, batch=97):
    metric.reset_state()
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        metric.update_state(labels[part], scores[part], None if weights is None else weights[part])
    return float(metric.result())


def labels_for(scores):
    order = np.argsort(np.argsort(scores, kind="stable"))
    return (RNG.random(len(scores)) < 0.1 + 0.4 * order / len(scores)).astype("int8")


@pytest.fixture(scope="module")
def metric():
    return AUC(capacity=1 << 16)


@pytest.fixture(scope="module")
def small():
    return AUC(capacity=2**10)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_it_equals_scikit_learns(name, weighted, metric):
    scores = DISTRIBUTIONS[name](1000).astype("float32")
    labels = labels_for(scores)
    weights = RNG.integers(0, 4, 1000) / 2 if weighted else None
    expected = roc_auc_score(labels, np.clip(scores, -1e38, 1e38), sample_weight=weights)
    assert abs(streamed(metric, labels, scores, weights) - expected) < 1e-6
    assert metric.error_bound() == 0


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 3.0]), st.booleans(), st.integers(0, 3)),
        min_size=1,
        max_size=40,
    ),
    batch=st.integers(1, 9),
    order=st.randoms(),
)
def test_order_and_batches_change_nothing(rows, batch, order, metric):
    order.shuffle(rows)
    scores, labels, weights = (np.array(column) for column in zip(*rows, strict=True))
    found = streamed(metric, labels, scores, weights, batch)
    seen = weights > 0
    if len(set(labels[seen])) < 2:
        assert np.isnan(found)
    else:
        assert abs(found - roc_auc_score(labels, scores, sample_weight=weights)) < 1e-6


@pytest.mark.parametrize("labels", ["by score", "sharp", "rare", "random"])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_beyond_its_capacity_it_is_within_its_error_bound(name, labels, small):
    """These are 10M rows and the default capacity of 2**22 in small, where the bound is below 1e-6."""
    n = 10_000_000 // 2**12
    scores = np.clip(DISTRIBUTIONS[name](n).astype("float32"), -1e38, 1e38)
    by_score = labels_for(scores)
    if labels == "sharp":
        by_score = scores > np.median(scores)
    elif labels != "by score":
        by_score = RNG.random(n) < {"rare": 0.03, "random": 0.5}[labels]
    if len(set(by_score)) < 2:
        return
    found, expected = streamed(small, by_score, scores, batch=256), roc_auc_score(by_score, scores)
    assert abs(found - expected) <= small.error_bound() + 1e-7
    assert small.error_bound() < 1e-6 * 2**12
    if len(np.unique(scores)) <= 256:
        assert small.error_bound() == 0


def test_rows_around_ranges_of_several_scores_are_counted_in_its_bound():
    """Further rows all lie in the one range, which the first four became; some have its lowest score."""
    metric, scores = AUC(capacity=4), np.array([0.1, 0.9, 0.2, 0.8, 0.5, 0.45, 0.55, 0.5])
    labels = np.array([0, 1, 1, 0, 1, 0, 0, 1])
    for n in range(5, 9):
        found = streamed(metric, labels[:n], scores[:n], batch=1)
        expected = roc_auc_score(labels[:n], scores[:n])
        assert abs(found - expected) <= metric.error_bound() + 1e-7
        assert metric.error_bound() < 0.5


def test_the_scores_dtype_is_that_of_the_metric():
    scores = 0.5 + 1e-12 * np.arange(4)
    labels = np.array([0, 1, 0, 1])
    assert streamed(AUC(), labels, scores) == 0.5
    assert streamed(AUC(dtype="float64"), labels, scores) == 0.75
    for dtype in ("float16", "bfloat16"):
        tensor = keras.ops.cast([0.1, 0.2, 0.15, 0.2], dtype)
        assert streamed(AUC(), labels, tensor) == roc_auc_score(
            labels, keras.ops.convert_to_numpy(tensor).astype("float32")
        )


def test_no_rows_and_one_class_have_no_auc(metric):
    metric.reset_state()
    assert np.isnan(float(metric.result()))
    assert np.isnan(streamed(metric, np.ones(5), RNG.random(5)))
    assert np.isnan(streamed(metric, np.zeros((5, 1)), RNG.random((5, 1))))


@pytest.mark.parametrize(
    ("label", "score", "weight"), [(1, np.nan, 1), (2, 0.5, 1), (np.nan, 0.5, 1), (0, 0.5, -1), (0, 0.5, np.inf)]
)
def test_an_invalid_row_makes_it_nan_and_warns(label, score, weight, metric):
    rows = np.array([0, 1, label]), np.array([0.1, 0.9, score]), np.array([1, 1, weight])
    with pytest.warns(UserWarning, match="auc is NaN: 1 rows have"):
        assert np.isnan(streamed(metric, *rows))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert streamed(metric, *rows[:2], np.array([1, 1, 0])) == 1


def test_shapes_that_are_not_one_value_per_row_are_refused(metric):
    with pytest.raises(ValueError, match=r"auc: pass one value per row.*y_pred \(4, 2\)"):
        metric.update_state(np.zeros(4), np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"sample_weight \(3,\)"):
        metric.update_state(np.zeros(4), np.zeros(4), np.zeros(3))
    with pytest.raises(ValueError, match="capacity must be an integer >= 2; got 1"):
        AUC(capacity=1)


def test_a_batch_may_be_larger_than_the_capacity():
    scores = RNG.integers(0, 16, 1000)
    labels = labels_for(scores)
    assert abs(streamed(AUC(capacity=64), labels, scores, batch=1000) - roc_auc_score(labels, scores)) < 1e-6


def test_its_config_makes_the_same_metric():
    metric = AUC("area", dtype="float64", capacity=128)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(copy) is AUC
    assert copy.get_config() == metric.get_config()


def test_stateless_calls_give_the_same():
    metric = AUC(capacity=128)
    labels, scores = np.array([0, 1, 0, 1]), np.array([0.1, 0.8, 0.4, 0.4])
    state = metric.stateless_update_state([variable.value for variable in metric.variables], labels, scores)
    assert float(metric.stateless_result(state)) == 0.875
    assert np.isnan(float(metric.result()))


def test_a_million_rows_in_batches():
    scores = (0.02 + 0.3 * RNG.random(1_000_000) ** 3).astype("float32")
    labels = RNG.random(1_000_000) < scores
    metric = AUC()
    assert abs(streamed(metric, labels, scores, batch=65_536) - roc_auc_score(labels, scores)) < 1e-6
    assert metric.error_bound() == 0


@pytest.mark.nightly
def test_ten_million_rows_of_any_distribution():
    metric = AUC()
    for name, draw in DISTRIBUTIONS.items():
        scores = np.clip(draw(10_000_000).astype("float32"), -1e38, 1e38)
        labels = labels_for(scores)
        error = abs(streamed(metric, labels, scores, batch=65_536) - roc_auc_score(labels, scores))
        print(f"{name:25} error {error:8.1e}  bound {metric.error_bound():8.1e}", flush=True)
        assert error <= metric.error_bound() + 1e-7, name  # the value is float32
        assert metric.error_bound() < 1e-6, name
