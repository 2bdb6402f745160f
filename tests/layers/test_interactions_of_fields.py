"""Interactions of fields, gates and fusions against float64 NumPy and finite differences."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrec as kr


def features(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def filled(layer, *shapes):
    """The layer in float64, built, with random weights."""
    layer.build(*shapes)
    layer.set_weights([features(*w.shape, seed=i + 1) for i, w in enumerate(layer.get_weights())])
    return layer, [np.float64(w) for w in layer.get_weights()]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


LAYERS = {
    "squeeze": (lambda **more: kr.layers.SqueezeExcitation(2, "sigmoid", **more), [(5, 4, 3)]),
    "all": (lambda **more: kr.layers.BilinearInteraction("all", **more), [(5, 4, 3)]),
    "each": (lambda **more: kr.layers.BilinearInteraction("each", **more), [(5, 4, 3)]),
    "interaction": (lambda **more: kr.layers.BilinearInteraction("interaction", **more), [(5, 4, 3)]),
    "fusion": (lambda **more: kr.layers.BilinearFusion(3, 2, **more), [(5, 4), (5, 6)]),
    "selection": (lambda **more: kr.layers.FeatureSelection([4], "tanh", **more), [(5, 4), (5, 3)]),
    "selection without context": (lambda **more: kr.layers.FeatureSelection(**more), [(5, 4)]),
    "mask block": (lambda **more: kr.layers.MaskBlock(4, 2, "tanh", **more), [(5, 4), (5, 3)]),
    "cross mixture": (lambda **more: kr.layers.CrossMixture(3, 2, **more), [(5, 6), (5, 6)]),
    "gated cross": (lambda **more: kr.layers.GatedCross(**more), [(5, 6), (5, 6)]),
}


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize(("n", "ratio", "hidden"), [(4, 3, 1), (5, 2, 2), (1, 3, 1)])
def test_squeeze_excitation_equals_numpy(activation, n, ratio, hidden):
    v = features(6, n, 3)
    layer, (w1, w2) = filled(kr.layers.SqueezeExcitation(ratio, activation, dtype="float64"), v.shape)
    assert w1.shape == (n, hidden)
    a = np.maximum(v.mean(2) @ w1, 0) @ w2
    a = np.maximum(a, 0) if activation == "relu" else sigmoid(a)
    np.testing.assert_allclose(layer(v), v * a[:, :, None])
    np.testing.assert_allclose(layer([v[:, i] for i in range(n)]), v * a[:, :, None])


@pytest.mark.parametrize("rows", [0, 1, 6])
@pytest.mark.parametrize("bilinear_type", ["all", "each", "interaction"])
def test_bilinear_interaction_equals_numpy(bilinear_type, rows):
    v = features(rows, 4, 3)
    layer, (w,) = filled(kr.layers.BilinearInteraction(bilinear_type, dtype="float64"), v.shape)
    assert len(w) == {"all": 1, "each": 3, "interaction": 6}[bilinear_type]
    pairs = list(itertools.combinations(range(4), 2))
    matrices = [w[{"all": 0, "each": i, "interaction": p}[bilinear_type]] for p, (i, _) in enumerate(pairs)]
    expected = np.stack([(v[:, i] @ m) * v[:, j] for (i, j), m in zip(pairs, matrices, strict=True)], axis=1)
    assert layer.compute_output_shape(v.shape) == expected.shape
    np.testing.assert_allclose(layer(v), expected, atol=1e-12)
    np.testing.assert_allclose(layer([v[:, i] for i in range(4)]), expected, atol=1e-12)


def test_one_field_has_no_pairs():
    assert kr.layers.BilinearInteraction()(features(5, 1, 3)).shape == (5, 0, 3)


def test_each_bilinear_matrix_is_drawn_as_a_matrix_of_its_own():
    layer = kr.layers.BilinearInteraction()
    layer.build((None, 10, 32))
    limit = (6 / 64) ** 0.5  # Glorot's, of a matrix (32, 32)
    assert abs(np.abs(layer.get_weights()[0]).max() / limit - 1) < 0.01


@pytest.mark.parametrize("shape", [(0, 6), (5, 6), (2, 3, 6)])
def test_gated_cross_equals_numpy(shape):
    x0, x = features(*shape), features(*shape, seed=9)
    layer, (kernel, bias, gate) = filled(kr.layers.GatedCross(dtype="float64"), shape)
    np.testing.assert_allclose(layer(x0, x), x0 * (x @ kernel + bias) * sigmoid(x @ gate) + x)
    np.testing.assert_allclose(layer(x0), layer(x0, x0))


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("units", [1, 3])
def test_bilinear_fusion_equals_numpy(units, heads):
    a, b = features(5, 4), features(5, 6, seed=9)
    layer, (u, v, c, w) = filled(kr.layers.BilinearFusion(units, heads, dtype="float64"), a.shape, b.shape)
    w = w.reshape(heads, 4 // heads, units, 6 // heads)
    parts = a.reshape(5, heads, -1), b.reshape(5, heads, -1)
    expected = c + a @ u + b @ v + np.einsum("nhp,hpuq,nhq->nu", parts[0], w, parts[1])
    np.testing.assert_allclose(layer(a, b), expected)


def test_feature_selection_equals_numpy():
    x, context = features(5, 4), features(5, 3, seed=9)
    layer, (w1, b1, w2, b2) = filled(kr.layers.FeatureSelection([6], dtype="float64"), x.shape, context.shape)
    gate = 2 * sigmoid(np.maximum(context @ w1 + b1, 0) @ w2 + b2)
    np.testing.assert_allclose(layer(x, context), gate * x)
    layer = kr.layers.FeatureSelection(dtype="float64")
    np.testing.assert_allclose(layer(x), x)  # at first
    layer.set_weights([np.arange(4)])
    np.testing.assert_allclose(layer(x), 2 * sigmoid(np.arange(4)) * x)


@pytest.mark.parametrize(("ratio", "hidden"), [(0.5, 3), (2, 12), (0.01, 1)])
def test_mask_block_equals_numpy(ratio, hidden):
    v, h = features(5, 4), features(5, 6, seed=9)
    layer, _ = filled(kr.layers.MaskBlock(3, ratio, dtype="float64"), v.shape, h.shape)
    (w1, b1), (w2, b2) = layer.squeeze.get_weights(), layer.mask.get_weights()
    assert w1.shape == (4, hidden)
    z = ((np.maximum(v @ w1 + b1, 0) @ w2 + b2) * h) @ layer.hidden.get_weights()[0]
    gamma, beta = layer.normalization.get_weights()
    z = gamma * (z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-5) + beta
    np.testing.assert_allclose(layer(v, h), np.maximum(z, 0), atol=1e-8)


@pytest.mark.parametrize(("experts", "rank"), [(3, 2), (2, None)])
def test_cross_mixture_equals_numpy(experts, rank):
    x0, x = features(5, 13), features(5, 13, seed=9)
    layer, (down, core, up, bias, gate) = filled(kr.layers.CrossMixture(experts, rank, dtype="float64"), x0.shape)
    assert down.shape == (experts, 13, rank or 3)
    p = np.exp(x @ gate)
    p /= p.sum(1, keepdims=True)
    maps = [np.tanh(np.tanh(x @ down[e]) @ core[e]) @ up[e] + bias for e in range(experts)]
    np.testing.assert_allclose(layer(x0, x), sum(p[:, [e]] * x0 * maps[e] for e in range(experts)) + x)
    np.testing.assert_allclose(layer(x0), layer(x0, x0))


@pytest.mark.parametrize("case", LAYERS)
def test_gradients_equal_finite_differences(case):
    make, shapes = LAYERS[case]
    layer, _ = filled(make(dtype="float64"), *shapes)
    inputs = [tf.constant(features(*shape, seed=7 + i)) for i, shape in enumerate(shapes)]
    direction = features(*layer.compute_output_shape(*shapes), seed=11)

    def loss(*inputs):
        return tf.reduce_sum(layer(*inputs) * direction)

    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = loss(*inputs)
    variables = [weight.value for weight in layer.trainable_weights]
    gradients = tape.gradient(value, [*inputs, *variables])
    step = 1e-6
    for i, tensor in enumerate(inputs):
        way = features(*tensor.shape, seed=13)
        there, back = ([*inputs[:i], tensor + s * step * way, *inputs[i + 1 :]] for s in (1, -1))
        slope = (loss(*there) - loss(*back)) / (2 * step)
        np.testing.assert_allclose(np.sum(gradients[i] * way), slope, rtol=1e-6, atol=1e-7)
    for variable, gradient in zip(variables, gradients[len(inputs) :], strict=True):
        way, start = features(*variable.shape, seed=13), np.array(variable)
        variable.assign(start + step * way)
        up = loss(*inputs)
        variable.assign(start - step * way)
        slope = (up - loss(*inputs)) / (2 * step)
        variable.assign(start)
        np.testing.assert_allclose(np.sum(tf.convert_to_tensor(gradient) * way), slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("case", LAYERS)
def test_symbolic_inputs_config_and_mixed_precision(case):
    make, shapes = LAYERS[case]
    layer = make(name="a", dtype="mixed_bfloat16")
    output = layer(*(keras.Input(shape[1:]) for shape in shapes))
    assert output.shape == (None, *layer.compute_output_shape(*shapes)[1:])
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


def test_bad_inputs_are_named():
    a, b = features(5, 3), features(5, 4)
    for layer in (kr.layers.SqueezeExcitation(), kr.layers.BilinearInteraction()):
        with pytest.raises(ValueError, match="input 1 has dim 4, but input 0 has dim 3"):
            layer([a, b])
    with pytest.raises(ValueError, match=r"x0 and x must have equal shapes; got \(5, 3\) and \(5, 4\)"):
        kr.layers.GatedCross()(a, b)
    with pytest.raises(ValueError, match="bilinear_type must be one of"):
        kr.layers.BilinearInteraction("field_all")
    with pytest.raises(ValueError, match="the width of a must be a multiple of heads, 2; got 3"):
        kr.layers.BilinearFusion(1, 2)(a, b)
    with pytest.raises(ValueError, match=r"h must have shape \(batch, dim\); got \(5, 3, 1\)"):
        kr.layers.MaskBlock(4)(a, features(5, 3, 1))
    with pytest.raises(ValueError, match=r"x0 and x must have equal shapes; got \(5, 3\) and \(5, 4\)"):
        kr.layers.CrossMixture()(a, b)
    for arguments, name in [((0,), "experts"), ((2, 0), "projection_dim")]:
        with pytest.raises(ValueError, match=f"{name} must be an integer >= 1"):
            kr.layers.CrossMixture(*arguments)
    with pytest.raises(ValueError, match="heads must be an integer >= 1; got 0"):
        kr.layers.BilinearFusion(1, 0)
    selection = kr.layers.FeatureSelection()
    selection.build(a.shape)
    with pytest.raises(ValueError, match="was built without a context"):
        selection(a, b)
    with pytest.raises(ValueError, match="reduction_ratio must be > 0; got 0"):
        kr.layers.SqueezeExcitation(0)
