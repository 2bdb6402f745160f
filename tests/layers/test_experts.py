"""Stacks of dense layers side by side, and the gates that mix them, against float64 NumPy."""

import keras
import numpy as np
import pytest

import kerasrec as kr

LAYERS = {
    "parallel": lambda **more: kr.layers.ParallelMLP(4, [5, 3], **more),
    "mixture": lambda **more: kr.layers.ExpertMixture(3, [5, 4], mixtures=2, gate_units=[6], **more),
    "cgc": lambda **more: kr.layers.CGC(2, [5, 4], own_experts=2, gate_units=[6], **more),
    "cgc with shared": lambda **more: kr.layers.CGC(2, [4], 1, 2, shared_output=True, **more),
}


def features(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def spread(layer, shape):
    """A layer that is built, with weights of a size that lets every term count."""
    layer.build(shape)
    layer.set_weights([0.7 * features(*w.shape, seed=i) for i, w in enumerate(layer.get_weights())])
    return layer


@pytest.mark.parametrize("groups", [None, 1, 2, 6])
@pytest.mark.parametrize("final", ["same", None])
def test_each_stack_is_an_mlp(groups, final):
    shape = (7, 5) if groups is None else (7, groups, 5)
    x = features(*shape)
    layer = spread(kr.layers.ParallelMLP(6, [4, 3], "tanh", final, dtype="float64"), shape)
    assert layer.compute_output_shape(shape) == (7, 6, 3)
    outputs = np.asarray(layer(x))
    for i in range(6):
        own = kr.layers.MLP([4, 3], "tanh", final, dtype="float64")
        own.build((None, 5))
        own.set_weights([np.squeeze(w[i]) if "bias" in v.name else w[i] for v, w in weights_of(layer)])
        expected = own(x if groups is None else x[:, i // (6 // groups)])
        np.testing.assert_allclose(outputs[:, i], expected, rtol=1e-12)


def weights_of(layer):
    """The kernel and bias of each layer, in the order of an `MLP`'s weights."""
    pairs = [[layer.kernels[k], layer.biases[k]] for k in range(len(layer.kernels))]
    return [(variable, variable.numpy()) for pair in pairs for variable in pair]


def test_stacks_begin_as_different_mlps_of_the_same_scale():
    for initializer in ("glorot_uniform", keras.initializers.GlorotUniform(seed=3)):
        layer = kr.layers.ParallelMLP(5, 64, kernel_initializer=initializer)
        layer.build((None, 256))
        kernels = layer.kernels[0].numpy()
        assert np.abs(np.corrcoef(kernels.reshape(5, -1)) - np.eye(5)).max() < 0.05
        np.testing.assert_allclose(kernels.std(axis=(1, 2)), np.sqrt(2 / (256 + 64)), rtol=0.05)


def test_dropout_acts_in_training_alone():
    layer = spread(kr.layers.ParallelMLP(2, [50], dropout=0.5), (None, 5))
    x = features(20, 5)
    plain, dropped = np.asarray(layer(x)), np.asarray(layer(x, training=True))
    zeros = (dropped == 0) & (plain > 0)
    assert 0.4 < zeros.sum() / (plain > 0).sum() < 0.6
    np.testing.assert_allclose(dropped[~zeros], 2 * plain[~zeros], rtol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_by_finite_differences(name):
    shape = (3, 2, 4) if name == "parallel" else (3, 3, 4) if "cgc" in name else (3, 4)
    layer = spread(LAYERS[name](activation="tanh", dtype="float64"), shape)
    x = features(*shape)
    direction = features(*layer.compute_output_shape(shape), seed=9)

    def loss(inputs):
        return float(keras.ops.sum(layer(inputs) * direction))

    for value, assign in [(x, None), *((v.numpy(), v.assign) for v in layer.trainable_variables)]:
        gradient = gradient_of(layer, x, direction, None if assign is None else assign.__self__)
        step = 1e-6 * features(*value.shape, seed=5)
        if assign is None:
            change = loss(x + step) - loss(x - step)
        else:
            assign(value + step)
            change = loss(x)
            assign(value - step)
            change -= loss(x)
            assign(value)
        np.testing.assert_allclose(change, 2 * np.sum(gradient * step), rtol=1e-6, atol=1e-12)


def gradient_of(layer, x, direction, variable):
    import tensorflow as tf

    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(layer(x, training=True) * direction)
    return tape.gradient(total, x if variable is None else variable.value).numpy()


@pytest.mark.parametrize("name", LAYERS)
def test_symbolic_inputs_empty_batches_policies_and_config(name):
    layer = LAYERS[name](name="layer", dropout=0.1, kernel_regularizer="l2")
    output = layer(keras.Input((4,)))
    assert output.shape == layer.compute_output_shape((None, 4))
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    copy.build((None, 4))
    assert [w.shape for w in copy.weights] == [w.shape for w in layer.weights]
    assert len(copy.losses) == sum("kernel" in v.name for v in copy.weights)
    assert layer(np.zeros((0, 4), "float32")).shape == (0, *output.shape[1:])
    half = LAYERS[name](dtype="mixed_bfloat16")
    assert keras.backend.standardize_dtype(half(np.zeros((2, 4), "float32")).dtype) == "bfloat16"
    assert {weight.dtype for weight in half.weights} == {"float32"}


def test_gates_may_read_other_inputs():
    layer = kr.layers.ExpertMixture(2, 3, mixtures=2, dtype="float64")
    layer.build((None, 4), (None, 5))
    layer.set_weights([features(*w.shape, seed=i) for i, w in enumerate(layer.get_weights())])
    x, other = features(6, 4), features(6, 5, seed=1)
    gates = keras.ops.softmax(layer.gates(other), axis=-1).numpy()
    experts = np.asarray(layer.expert_stacks(x))
    np.testing.assert_allclose(layer(x, other), np.einsum("bkn,bnu->bku", gates, experts), rtol=1e-12)
    assert keras.Model((a := keras.Input((4,)), b := keras.Input((5,))), layer(a, b)).output_shape == (None, 2, 3)


def test_wrong_shapes_and_arguments_are_named():
    with pytest.raises(ValueError, match=r"groups, features\) with groups that divide 4; got \(2, 3, 5\)"):
        kr.layers.ParallelMLP(4, 2)(np.ones((2, 3, 5), "float32"))
    with pytest.raises(ValueError, match=r"inputs must have shape \(batch, features\), .* got \(5,\)"):
        kr.layers.ParallelMLP(4, 2)(np.ones(5, "float32"))
    with pytest.raises(ValueError, match=r"or \(batch, 3, features\): one for each task .* got \(2, 2, 5\)"):
        kr.layers.CGC(2, 4)(np.ones((2, 2, 5), "float32"))
    with pytest.raises(ValueError, match="count must be an integer >= 1; got 0"):
        kr.layers.ParallelMLP(0, 2)
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\); got 2"):
        kr.layers.ParallelMLP(1, 2, dropout=2)
    with pytest.raises(ValueError, match="mixtures must be an integer >= 1; got True"):
        kr.layers.ExpertMixture(2, 2, True)
    with pytest.raises(ValueError, match="tasks must be an integer >= 1; got 0"):
        kr.layers.CGC(0, 2)
