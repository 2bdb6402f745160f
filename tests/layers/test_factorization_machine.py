"""FactorizationMachine against every pair's dot product in float64."""

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kerasrec as kr


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 6), batch=st.integers(0, 4), dim=st.integers(1, 9))
def test_equals_brute_force_as_list_and_as_one_tensor(n, batch, dim):
    vectors = np.random.default_rng(n).normal(size=(batch, n, dim)).astype("float32")
    wide = vectors.astype("float64")
    expected = np.zeros((batch, 1))
    for i, j in itertools.combinations(range(n), 2):
        expected += (wide[:, i] * wide[:, j]).sum(-1, keepdims=True)
    layer = kr.layers.FactorizationMachine()
    out = layer(vectors)
    assert out.shape == layer.compute_output_shape((batch, n, dim)) == (batch, 1)
    np.testing.assert_allclose(out, expected, atol=1e-4)
    np.testing.assert_allclose(layer(list(vectors.swapaxes(0, 1))), expected, atol=1e-4)


def test_bfloat16_inputs_are_summed_in_float32():
    # The square of the sum is 64 ** 2 * 4, of which bfloat16 keeps 8 bits: less than one pair weighs.
    vectors = np.ones((1, 64, 4), "float32")
    vectors[0, 0, 0] = 2
    layer = kr.layers.FactorizationMachine(dtype="mixed_bfloat16")
    out = keras.ops.convert_to_numpy(keras.ops.cast(layer(vectors), "float32"))
    pairs = 4 * 64 * 63 / 2 + 63  # the one doubled value meets the 63 others once more
    np.testing.assert_allclose(out, [[pairs]], rtol=2**-8)


def test_symbolic_inputs_and_config():
    layer = kr.layers.FactorizationMachine(name="fm")
    assert layer([keras.Input((4,)) for _ in range(3)]).shape == (None, 1)
    assert layer(keras.Input((3, 4))).shape == (None, 1)
    assert kr.layers.FactorizationMachine.from_config(layer.get_config()).get_config() == layer.get_config()


def test_bad_inputs_are_named():
    layer = kr.layers.FactorizationMachine()
    with pytest.raises(ValueError, match="input 1 has dim 5, but input 0 has dim 4"):
        layer([np.ones((2, 4), "float32"), np.ones((2, 5), "float32")])
    with pytest.raises(ValueError, match="must be a list of tensors"):
        layer(np.ones((2, 4), "float32"))
