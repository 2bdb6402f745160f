"""MLP against float64 NumPy."""

import keras
import numpy as np
import pytest

import kerasrec as kr


def relu(x):
    return np.maximum(x, 0)


def reference(weights, x, activations):
    for kernel, bias, activation in zip(weights[::2], weights[1::2], activations, strict=True):
        x = activation(x @ kernel.astype("float64") + bias)
    return x


@pytest.mark.parametrize("shape", [(0, 5), (1, 5), (7, 5), (2, 3, 5)])
def test_equals_numpy_with_the_same_activation_everywhere(shape):
    layer = kr.layers.MLP([8, 4, 3])
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    out = layer(x)
    assert out.shape == layer.compute_output_shape(shape) == (*shape[:-1], 3)
    np.testing.assert_allclose(out, reference(layer.get_weights(), x, [relu] * 3), atol=1e-6)


def test_a_final_activation_is_the_last_layers_alone():
    layer = kr.layers.MLP([8, 3], activation="tanh", final_activation=None)
    x = np.random.default_rng(1).normal(size=(6, 5)).astype("float32")
    np.testing.assert_allclose(layer(x), reference(layer.get_weights(), x, [np.tanh, lambda v: v]), atol=1e-6)


def test_dropout_zeroes_activated_outputs_in_training_and_only_there():
    x = np.ones((64, 5), "float32")
    layer = kr.layers.MLP([50, 40], activation="sigmoid", dropout=0.5)
    calm, dropped = layer(x).numpy(), layer(x, training=True).numpy()
    assert (calm > 0).all()  # a sigmoid is never 0 by itself
    assert 0.4 < (dropped == 0).mean() < 0.6
    linear = kr.layers.MLP([50, 40], activation="sigmoid", final_activation=None, dropout=0.5)
    assert (linear(x, training=True).numpy() != 0).all()


def test_config_round_trip_keeps_predictions_and_activations():
    layer = kr.layers.MLP([8, 3], activation="gelu", final_activation="sigmoid", dropout=0.1, name="tower")
    x = np.random.default_rng(2).normal(size=(4, 5)).astype("float32")
    expected = layer(x)
    copy = kr.layers.MLP.from_config(layer.get_config())
    copy.build((None, 5))
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(x), expected)
    assert copy.get_config() == layer.get_config()
    same = kr.layers.MLP([2]).get_config()
    assert same["final_activation"] == "same"


def test_mixed_precision_keeps_float32_weights():
    layer = kr.layers.MLP([8, 3], dtype="mixed_bfloat16")
    assert keras.backend.standardize_dtype(layer(np.ones((2, 5), "float32")).dtype) == "bfloat16"
    assert {weight.dtype for weight in layer.weights} == {"float32"}


@pytest.mark.parametrize("units", [[], [0], [8, -1], "16", [2.5]])
def test_bad_units(units):
    with pytest.raises(ValueError, match="units must be an integer or a list of integers >= 1; got"):
        kr.layers.MLP(units)


def test_bad_dropout_and_inputs():
    with pytest.raises(ValueError, match="dropout must be in"):
        kr.layers.MLP([2], dropout=1.0)
    with pytest.raises(ValueError, match=r"inputs must have shape \(batch, ..., features\)"):
        kr.layers.MLP([2])(np.ones(3, "float32"))
