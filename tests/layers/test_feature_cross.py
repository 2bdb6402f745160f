"""FeatureCross against keras-rs and float64 NumPy."""

import keras
import keras_rs
import numpy as np
import pytest

import kerasrec as kr


def features(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("rank", [None, 1, 3])
@pytest.mark.parametrize("shape", [(0, 6), (1, 6), (5, 6), (2, 3, 6)])
def test_equals_numpy(rank, shape):
    x0, x = features(*shape), features(*shape, seed=1)
    layer = kr.layers.FeatureCross(rank)
    layer.build(shape)
    layer.set_weights([features(*w.shape, seed=i) for i, w in enumerate(layer.get_weights())])
    *down, kernel, bias = [w.astype("float64") for w in layer.get_weights()]
    low = x @ down[0] if down else x
    expected = x0 * (low @ kernel + bias) + x
    assert layer.compute_output_shape(shape) == shape
    np.testing.assert_allclose(layer(x0, x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rank", [None, 2])
def test_equals_keras_rs(rank):
    x0, x = features(5, 6), features(5, 6, seed=1)
    ours, theirs = kr.layers.FeatureCross(rank), keras_rs.layers.FeatureCross(rank)
    theirs(x0, x), ours(x0)
    ours.set_weights([features(*w.shape, seed=i) for i, w in enumerate(theirs.get_weights())])
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(ours(x0, x), theirs(x0, x), atol=1e-6)
    np.testing.assert_allclose(ours(x0), theirs(x0), atol=1e-6)


def test_symbolic_inputs_and_config():
    layer = kr.layers.FeatureCross(2, name="cross")
    x0 = keras.Input((6,))
    assert layer(x0, layer(x0)).shape == (None, 6)
    assert kr.layers.FeatureCross.from_config(layer.get_config()).get_config() == layer.get_config()


def test_mixed_precision_keeps_float32_weights():
    layer = kr.layers.FeatureCross(2, dtype="mixed_bfloat16")
    assert keras.backend.standardize_dtype(layer(features(3, 4)).dtype) == "bfloat16"
    assert {weight.dtype for weight in layer.weights} == {"float32"}


def test_bad_inputs_are_named():
    with pytest.raises(ValueError, match=r"x0 and x must have equal shapes; got \(5, 6\) and \(5, 4\)"):
        kr.layers.FeatureCross()(features(5, 6), features(5, 4))
    with pytest.raises(ValueError, match="projection_dim must be an integer >= 1"):
        kr.layers.FeatureCross(0)
