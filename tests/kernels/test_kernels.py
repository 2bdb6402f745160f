"""The compiled kernels and what stands in for them, against float64 NumPy."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kerasrec import kernels


@pytest.fixture(params=["compiled", "TensorFlow"], autouse=True)
def implementation(request, monkeypatch):
    if request.param == "compiled":
        assert kernels.compiled() is not None, "there is a compiler wherever the tests run"
    else:
        monkeypatch.setattr(kernels, "compiled", lambda: None)
    return request.param


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    position=st.lists(st.integers(0, 6), max_size=40),
    width=st.sampled_from([1, 3, 32]),
    dtype=st.sampled_from([tf.float32, tf.bfloat16]),
    seed=st.integers(0, 9),
)
def test_sum_rows(implementation, position, width, dtype, seed):
    values = tf.cast(np.random.default_rng(seed).normal(size=(len(position), width)), dtype)
    expected = np.zeros((7, width))
    np.add.at(expected, position, tf.cast(values, tf.float64).numpy())
    sums = kernels.sum_rows(values, tf.constant(position, tf.int32, (len(position),)), tf.zeros((7, width)))
    assert sums.dtype == tf.float32
    np.testing.assert_allclose(sums, expected, atol=1e-5)


def test_sum_rows_in_parallel(implementation):
    rng = np.random.default_rng(0)
    values, position = rng.normal(size=(30_000, 16)).astype("float32"), rng.integers(0, 5000, 30_000)
    expected = np.zeros((5000, 16))
    np.add.at(expected, position, values.astype("float64"))
    sums = kernels.sum_rows(tf.constant(values), tf.constant(position, tf.int32), tf.zeros((5000, 16)))
    np.testing.assert_allclose(sums, expected, atol=1e-4)


@pytest.mark.parametrize("index", [tf.int32, tf.int64])
@pytest.mark.parametrize("n", [0, 1, 700])
def test_adagrad_rows(implementation, index, n):
    rng = np.random.default_rng(n)
    start, squares = rng.normal(size=(900, 8)).astype("float32"), rng.random((900, 8)).astype("float32")
    rows, gradient = rng.permutation(900)[:n], rng.normal(size=(n, 8)).astype("float32")
    table, accumulator = tf.Variable(start), tf.Variable(squares)
    before = table.read_value()  # a reader that still holds the values must not see them change
    done = kernels.adagrad_rows(table, accumulator, tf.cast(rows, index), tf.constant(gradient), 0.1, 1e-3)
    assert done == (implementation == "compiled")
    if not done:
        return
    new_squares, new = squares.astype("float64"), start.astype("float64")
    new_squares[rows] += gradient.astype("float64") ** 2
    new[rows] -= 0.1 * gradient / np.sqrt(new_squares[rows] + 1e-3)
    np.testing.assert_allclose(table, new, atol=1e-6)
    np.testing.assert_allclose(accumulator, new_squares, rtol=1e-6)
    np.testing.assert_array_equal(before, start)


def test_rows_outside_the_table_are_refused(implementation):
    if implementation != "compiled":
        return
    table, accumulator = tf.Variable(tf.ones((4, 2))), tf.Variable(tf.ones((4, 2)))
    for row in (-1, 4):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"row {row} of 4"):
            kernels.adagrad_rows(table, accumulator, tf.constant([row]), tf.ones((1, 2)), 0.1, 1e-3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="out of range"):
        kernels.sum_rows(tf.ones((1, 2)), tf.constant([3]), tf.zeros((3, 2)))


SCRIPT = "from kerasrec import kernels; print(kernels.compiled())"


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"KERASREC_KERNELS": "0"}, ""), ({"CXX": "/bin/false"}, "could not compile rows.cc")],
    ids=["switched off", "no working compiler"],
)
def test_goes_on_without_them(tmp_path, settings, said):
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), **settings}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"
    assert said in done.stderr
    assert not list(tmp_path.rglob("*.so"))
