"""kr.optimizers.Adagrad against Keras's own on dense gradients, and against a step by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from lookups import DIM, ROWS, DenseLookup, assert_same, train

import kerasrec as kr


@pytest.mark.parametrize("initial", [0.1, 0.0, 1e-8])
@pytest.mark.parametrize("epsilon", [1e-7, 1e-3])
def test_equals_keras_over_100_steps(initial, epsilon):
    options = {"learning_rate": 0.05, "initial_accumulator_value": initial, "epsilon": epsilon}
    ours = train(kr.optimizers.Adagrad(**options))
    theirs = train(keras.optimizers.Adagrad(**options), DenseLookup)
    assert_same(ours, theirs)


def test_equals_keras_with_a_schedule():
    def schedule():
        return keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)

    ours, theirs = (package.Adagrad(schedule(), 0.1) for package in (kr.optimizers, keras.optimizers))
    assert_same(train(ours), train(theirs, DenseLookup))


def test_against_float64_rows():
    """One step by hand: repeated rows are summed before they are squared, others do not move."""
    start = np.random.default_rng(1).normal(size=(ROWS, DIM)).astype("float32")
    variable = keras.Variable(start)
    optimizer = kr.optimizers.Adagrad(0.1, initial_accumulator_value=0.2, epsilon=1e-4)
    values = np.random.default_rng(2).normal(size=(5, DIM)).astype("float32")
    rows = np.array([7, 3, 7, 49, 7])
    optimizer.apply([tf.IndexedSlices(values, rows, (ROWS, DIM))], [variable])
    summed = np.zeros((ROWS, DIM))
    np.add.at(summed, rows, values.astype("float64"))
    expected = start - 0.1 * summed / np.sqrt(0.2 + summed**2 + 1e-4)
    result = keras.ops.convert_to_numpy(variable)
    np.testing.assert_allclose(result, expected, atol=1e-6)
    untouched = np.setdiff1d(np.arange(ROWS), rows)
    assert np.array_equal(result[untouched], start[untouched])


def test_dense_weights_have_a_rate_of_their_own():
    """Three steps by hand in float64, of a table's rows and of a dense weight."""
    table = keras.Variable(np.ones((ROWS, DIM), "float32"), name="embeddings")
    dense = keras.Variable(np.ones((3, DIM), "float32"), name="kernel")
    optimizer = kr.optimizers.Adagrad(0.1, 0.5, dense_factor=0.25)
    expected = np.ones(2)
    for step in (1, 2, 3):
        gradient = tf.IndexedSlices(tf.fill((1, DIM), 0.2), [3], (ROWS, DIM))
        optimizer.apply([gradient, tf.fill((3, DIM), 0.2)], [table, dense])
        expected -= 0.1 * np.array([1, 0.25]) * 0.2 / np.sqrt(0.5 + step * 0.2**2)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(table)[3], expected[0], atol=1e-6)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(dense), expected[1], atol=1e-6)


def test_refuses_a_factor_with_which_dense_weights_never_learn():
    with pytest.raises(ValueError, match="dense_factor must be > 0; got 0"):
        kr.optimizers.Adagrad(dense_factor=0)


def test_a_configuration_from_before_has_one_rate_for_all():
    config = kr.optimizers.Adagrad(0.1, dense_factor=0.5).get_config()
    assert kr.optimizers.Adagrad.from_config(dict(config)).dense_factor == 0.5
    del config["dense_factor"]
    assert kr.optimizers.Adagrad.from_config(config).dense_factor == 1.0


def test_a_batch_that_touches_no_row():
    start = np.ones((ROWS, DIM), "float32")
    variable = keras.Variable(start)
    gradient = tf.IndexedSlices(tf.zeros((0, DIM)), tf.zeros((0,), tf.int64), (ROWS, DIM))
    kr.optimizers.Adagrad(0.1).apply([gradient], [variable])
    assert np.array_equal(keras.ops.convert_to_numpy(variable), start)


@pytest.mark.parametrize("name", ["Adagrad", "RowwiseAdagrad"])
def test_defaults(name):
    optimizer = getattr(kr.optimizers, name)()
    config = optimizer.get_config()
    assert (float(optimizer.learning_rate), config["initial_accumulator_value"]) == (pytest.approx(0.05), None)
    variable = keras.Variable(np.ones((ROWS, DIM), "float32"), name="embeddings")
    optimizer.apply([tf.IndexedSlices(tf.fill((1, DIM), 0.2), [3], (ROWS, DIM))], [variable])
    np.testing.assert_allclose(
        variable[3], 1 - 0.05, atol=1e-6
    )  # the first step is the rate, whatever the gradient


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_gradient_of_zero_is_no_step_in_half_precision(dtype):
    variable = keras.Variable(np.ones(3), dtype=dtype)
    optimizer = kr.optimizers.Adagrad(initial_accumulator_value=0.0)
    optimizer.apply([keras.ops.cast([0.0, 1e-4, 1.0], dtype)], [variable])
    moved = 1 - np.asarray(keras.ops.cast(variable, "float32"))
    assert moved[0] == 0
    assert 0 < moved[1] <= moved[2]


def test_config_round_trip():
    optimizer = kr.optimizers.Adagrad(0.3, initial_accumulator_value=0.5, epsilon=1e-5)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is kr.optimizers.Adagrad
    assert again.get_config() == optimizer.get_config()
