"""Layers of interacting fields against float64 NumPy; their gradients against finite differences."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrec as kr

LAYERS = {
    "BiInteraction": lambda **more: kr.layers.BiInteraction(**more),
    "FieldWeightedPairs": lambda **more: kr.layers.FieldWeightedPairs(2, **more),
    "FeatureSelfAttention": lambda **more: kr.layers.FeatureSelfAttention(4, 2, **more),
    "CompressedInteraction": lambda **more: kr.layers.CompressedInteraction([3, 2], **more),
}


def vectors(batch=5, n=4, dim=3, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, n, dim))


def spread(layer, shape, seed=1):
    """The layer, built for vectors of a shape, with random weights."""
    layer.build(shape)
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    return layer


def bi_interaction(layer, v):
    return sum(v[:, i] * v[:, j] for i, j in itertools.combinations(range(v.shape[1]), 2)) + np.zeros_like(v[:, 0])


def compressed_interaction(layer, v):
    """The paper's sums, one product at a time."""
    x, out = v, []
    for kernel, bias in zip(layer.kernels, layer.biases, strict=True):
        n, before, w = v.shape[1], x.shape[1], np.float64(kernel)
        terms = [
            w[i * before + h][:, None] * (v[:, i] * x[:, h])[:, None] for i in range(n) for h in range(before)
        ]
        x = sum(terms) + np.float64(bias)[:, None]
        out.append(x.sum(2))
    return np.concatenate(out, axis=1)


def field_weighted_pairs(layer, v):
    out = np.zeros((len(v), layer.units))
    pairs = [(i, j) for i in range(v.shape[1]) for j in range(i)]
    for (i, j), weights in zip(pairs, np.float64(layer.kernel), strict=True):
        out += weights * (v[:, i] * v[:, j]).sum(1, keepdims=True)
    return out


def feature_self_attention(layer, v):
    """The paper's sums, one head after another."""
    heads, size = [], layer.units // layer.heads
    for h in range(layer.heads):
        columns = slice(h * size, (h + 1) * size)
        q, k, u = (v @ np.float64(w)[:, columns] for w in (layer.query, layer.key, layer.value))
        scores = np.exp(np.einsum("bid,bjd->bij", q, k))
        heads.append(np.einsum("bij,bjd->bid", scores / scores.sum(2, keepdims=True), u))
    residual = v if layer.residual is None else v @ np.float64(layer.residual)
    return np.maximum(np.concatenate(heads, axis=2) + residual, 0)


FORMULAS = {
    "BiInteraction": bi_interaction,
    "CompressedInteraction": compressed_interaction,
    "FieldWeightedPairs": field_weighted_pairs,
    "FeatureSelfAttention": feature_self_attention,
}


@pytest.fixture(params=list(LAYERS))
def name(request):
    return request.param


@pytest.mark.parametrize("shape", [(5, 4, 3), (2, 1, 3), (0, 3, 2), (1, 7, 1)], ids=str)
def test_equals_numpy_as_one_tensor_and_as_list(name, shape):
    layer = spread(LAYERS[name](), shape)
    v = vectors(*shape)
    expected = FORMULAS[name](layer, v)
    out = layer(v.astype("float32"))
    assert tuple(out.shape) == expected.shape == layer.compute_output_shape(shape)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    listed = [v[:, i].astype("float32") for i in range(shape[1])]
    np.testing.assert_array_equal(layer(listed), out)
    assert layer.compute_output_shape([(shape[0], shape[2])] * shape[1]) == expected.shape


def test_gradients_are_those_of_finite_differences(name):
    layer = spread(LAYERS[name](dtype="float64"), (5, 4, 3))
    watched = [tf.Variable(vectors()), *(w.value for w in layer.trainable_weights)]

    def loss():
        return tf.reduce_sum(tf.sin(layer(watched[0], training=True)))

    with tf.GradientTape() as tape:
        value = loss()
    for tensor, gradient in zip(watched, tape.gradient(value, watched), strict=True):
        start, step = tensor.numpy(), np.random.default_rng(2).normal(size=tensor.shape)
        ends = []
        for size in (1e-6, -1e-6):
            tensor.assign(start + size * step)
            ends.append(float(loss()))
        tensor.assign(start)
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(float(np.sum(gradient * step)), rel=1e-6, abs=1e-8)


def test_symbolic_inputs_and_config(name):
    layer = LAYERS[name](name="fields")
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == layer.compute_output_shape((None, 4, 3))
    listed = LAYERS[name]()([keras.Input((3,)) for _ in range(4)])
    assert listed.shape == model.output_shape
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


def test_mixed_precision_keeps_float32_weights(name):
    layer = spread(LAYERS[name](dtype="mixed_bfloat16"), (5, 4, 3))
    v = vectors().astype("float32")
    assert {weight.dtype for weight in layer.weights} <= {"float32"}
    out = keras.ops.convert_to_numpy(keras.ops.cast(layer(v), "float32"))
    expected = FORMULAS[name](layer, v.astype("float64"))
    np.testing.assert_allclose(out, expected, rtol=0.1, atol=0.05 * np.abs(expected).max())


def test_wrong_shapes_are_named(name):
    with pytest.raises(ValueError, match="input 1 has dim 5, but input 0 has dim 4"):
        LAYERS[name]()([np.ones((2, 4), "float32"), np.ones((2, 5), "float32")])
    with pytest.raises(ValueError, match=r"must be a list of tensors \(batch, dim\)"):
        LAYERS[name]()(np.ones((2, 4), "float32"))


def test_vectors_as_wide_as_the_attention_are_their_own_residual():
    layer = spread(kr.layers.FeatureSelfAttention(4, 1), (5, 3, 4))
    assert layer.residual is None
    v = vectors(5, 3, 4)
    np.testing.assert_allclose(layer(v.astype("float32")), feature_self_attention(layer, v), rtol=1e-4, atol=1e-4)


def test_field_weighted_pairs_begin_as_a_factorization_machine():
    v = vectors().astype("float32")
    expected = kr.layers.FactorizationMachine()(v)
    np.testing.assert_allclose(kr.layers.FieldWeightedPairs()(v), expected, atol=1e-5)


def test_units_are_checked():
    with pytest.raises(ValueError, match=r"units must be an integer or a list of integers >= 1; got \[3, 0\]"):
        kr.layers.CompressedInteraction([3, 0])
    with pytest.raises(ValueError, match="units must be an integer >= 1; got 0"):
        kr.layers.FieldWeightedPairs(0)
    with pytest.raises(ValueError, match="heads must divide units; got units=6, heads=4"):
        kr.layers.FeatureSelfAttention(6, 4)
    with pytest.raises(ValueError, match=r"units must be .* got \[\]"):
        kr.layers.CompressedInteraction([])
