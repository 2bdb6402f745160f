"""Log loss, normalized entropy and calibration against scikit-learn and their formulas, and over many rows."""

import keras
import numpy as np
import pytest
from sklearn.metrics import log_loss

import kerasrec as kr

RNG = np.random.default_rng(1)


def streamed(metric, labels, probabilities, weights=None):
    for start in range(0, len(labels), 100):
        part = slice(start, start + 100)
        metric.update_state(labels[part], probabilities[part], None if weights is None else weights[part])
    return float(metric.result())


@pytest.mark.parametrize("weighted", [False, True])
def test_they_are_their_formulas(weighted):
    p = RNG.random(1000).astype("float32")
    p[:4] = [0, 1, 0, 1]  # sure, and wrong twice
    labels = np.concatenate([[0, 1, 1, 0], RNG.random(996) < p[4:]]).astype("int64")
    w = RNG.integers(0, 4, 1000) / 2 if weighted else None
    rate = np.average(labels, weights=w)
    loss = log_loss(labels, p, sample_weight=w)
    np.testing.assert_allclose(streamed(kr.metrics.LogLoss(), labels, p, w), loss, rtol=1e-6)
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    np.testing.assert_allclose(streamed(kr.metrics.NormalizedEntropy(), labels, p, w), loss / entropy, rtol=2e-6)
    ratio = np.average(p.astype("float64"), weights=w) / rate
    np.testing.assert_allclose(streamed(kr.metrics.Calibration(), labels, p, w), ratio, rtol=1e-6)


def test_sums_of_a_hundred_million_rows_lose_nothing():
    metric = kr.metrics.Calibration()
    ones, tenth = np.ones(1), np.full(1, 0.1, "float32")
    for _ in range(50):  # the weight of 2M rows at once, where a float32 would stop at 16,777,216
        metric.update_state(ones, ones, np.full(1, 2_000_000.0))
        metric.update_state(ones, tenth)
    expected = (100_000_000 + 50 * float(np.float32(0.1))) / 100_000_050
    assert abs(float(metric.result()) - expected) < 1e-7
    small = kr.metrics.Calibration()
    small.update_state(ones, ones, np.full(1, 2.0**24))
    for _ in range(50):
        small.update_state(np.zeros(1), ones)
    assert float(small.result()) == np.float32((2**24 + 50) / 2**24)


def test_undefined_values_are_nan():
    for name in ("LogLoss", "NormalizedEntropy", "Calibration"):
        metric = getattr(kr.metrics, name)()
        assert np.isnan(float(metric.result())), name
        metric.update_state([0, 1], [0.5, 1.5])
        assert np.isnan(float(metric.result())), name
        metric.reset_state()
        metric.update_state([0, 1, 1], [0.5, 0.5, np.nan], [1, 1, 0])
        assert float(metric.result()) == pytest.approx({"LogLoss": np.log(2)}.get(name, 1.0)), name
    one_class = kr.metrics.NormalizedEntropy()
    one_class.update_state([1, 1], [0.5, 0.5])
    assert np.isnan(float(one_class.result()))


def test_configs_make_the_same_metrics():
    for cls in (kr.metrics.LogLoss, kr.metrics.NormalizedEntropy, kr.metrics.Calibration):
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(cls(name="x")))
        assert type(copy) is cls
        assert copy.name == "x"


def test_reliability_bins_have_equally_many_rows():
    p = RNG.random(10_000)
    labels = RNG.random(10_000) < p**2
    found = kr.metrics.reliability(labels, p, bins=20)
    np.testing.assert_allclose(found.weight, 500, atol=1)
    np.testing.assert_allclose(found.observed, found.predicted**2, atol=0.09)
    assert found.error == pytest.approx(1 / 6, abs=0.02)  # the mean of p - p^2
    assert len(kr.metrics.reliability([0, 1], [0.3, 0.3]).weight) == 1
    assert np.isnan(kr.metrics.reliability([], []).error)
    for arguments, message in [
        (([0, 1], [0.3]), "2 labels, 1 prob"),
        (([0, 2], [0.3, 0.4]), "labels must be 0 or 1"),
        (([0, 1], [0.3, 1.4]), "probabilities must be in"),
        (([0, 1], [0.3, 0.4], 0), "bins must be an integer >= 1; got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            kr.metrics.reliability(*arguments)
