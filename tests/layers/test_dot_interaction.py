"""DotInteraction against keras-rs, float64 NumPy and automatic differentiation."""

import keras
import keras_rs
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import kerasrec as kr


def vectors(n, batch, dim, seed=0):
    return list(np.random.default_rng(seed).normal(size=(n, batch, dim)).astype("float32"))


def reference(inputs, diagonal):
    """Every pair on its own, in float64."""
    wide = [x.astype("float64") for x in inputs]
    pairs = [(wide[i] * wide[j]).sum(-1) for i in range(len(wide)) for j in range(i + diagonal)]
    return np.stack(pairs, axis=1) if pairs else np.zeros((len(wide[0]), 0))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 6), batch=st.integers(0, 4), dim=st.integers(1, 9), diagonal=st.booleans())
def test_equals_numpy(n, batch, dim, diagonal):
    layer = kr.layers.DotInteraction(self_interaction=diagonal)
    inputs = vectors(n, batch, dim)
    out = layer(inputs)
    expected = reference(inputs, diagonal)
    assert out.shape == expected.shape == layer.compute_output_shape([x.shape for x in inputs])
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("diagonal", [False, True])
def test_equals_keras_rs_in_values_and_order(diagonal):
    inputs = vectors(7, 5, 16)
    theirs = keras_rs.layers.DotInteraction(self_interaction=diagonal)(inputs)
    np.testing.assert_allclose(kr.layers.DotInteraction(diagonal)(inputs), theirs, atol=1e-6)


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_gradient_equals_automatic_differentiation(diagonal, compiled):
    inputs = [tf.constant(x, "float64") for x in vectors(4, 3, 5)]
    pairs = [(i, j) for i in range(4) for j in range(i + diagonal)]
    layer = kr.layers.DotInteraction(diagonal, dtype="float64")

    def plain(xs):
        return tf.stack([tf.reduce_sum(xs[i] * xs[j], axis=1) for i, j in pairs], axis=1)

    def gradient(dots):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(tf.sin(dots(inputs)))
        return tape.gradient(loss, inputs)

    ours = tf.function(lambda: gradient(layer))() if compiled else gradient(layer)
    np.testing.assert_allclose(ours, gradient(plain), atol=1e-12)


def test_symbolic_inputs_and_config():
    layer = kr.layers.DotInteraction(self_interaction=True, name="pairs")
    assert layer([keras.Input((4,)) for _ in range(3)]).shape == (None, 6)
    assert kr.layers.DotInteraction.from_config(layer.get_config()).get_config() == layer.get_config()


def test_mixed_precision_computes_in_bfloat16():
    inputs = vectors(3, 2, 4)
    out = kr.layers.DotInteraction(dtype="mixed_bfloat16")(inputs)
    assert out.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(out, "float32"), reference(inputs, False), rtol=0.05, atol=0.05)


def test_bad_inputs_are_named():
    layer = kr.layers.DotInteraction()
    with pytest.raises(ValueError, match="input 2 has dim 5, but input 0 has dim 4"):
        layer([np.ones((2, 4), "float32"), np.ones((2, 4), "float32"), np.ones((2, 5), "float32")])
    with pytest.raises(ValueError, match=r"input 1 has shape \(2, 3, 4\)"):
        layer([np.ones((2, 4), "float32"), np.ones((2, 3, 4), "float32")])
    with pytest.raises(ValueError, match="must be a list of tensors"):
        layer(np.ones((2, 3, 4), "float32"))
    with pytest.raises(ValueError, match="must be a list of tensors"):
        layer([])
