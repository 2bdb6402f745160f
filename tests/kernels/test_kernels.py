"""The compiled kernels against float64 NumPy."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasrec import kernels


def test_there_is_a_compiler_wherever_the_tests_run():
    assert kernels.compiled() is not None


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.integers(0, 6), max_size=40),
    width=st.sampled_from([1, 3, 32]),
    index=st.sampled_from([tf.int32, tf.int64]),
    dtype=st.sampled_from([tf.float32, tf.bfloat16]),
    seed=st.integers(0, 9),
)
def test_rows_are_read_and_their_gradients_summed(rows, width, index, dtype, seed):
    check_read(np.array(rows, "int64"), 7, width, index, dtype, seed)


@pytest.mark.parametrize("index", [tf.int32, tf.int64])
@pytest.mark.parametrize("size", [30, 3_000_000])
def test_many_rows_on_all_cores(index, size):
    check_read(np.random.default_rng(1).integers(0, size, 60_000), size, 8, index, tf.float32, 0)


def check_read(rows, size, width, index, dtype, seed):
    rng = np.random.default_rng(seed)
    table = tf.Variable(rng.normal(size=(size, width)).astype("float32"))
    upstream = tf.cast(rng.normal(size=(len(rows), width)), dtype)

    @tf.function
    def run():
        with tf.GradientTape() as tape:
            vectors = kernels.read_rows(table, tf.constant(rows, index, (len(rows),)), dtype)
            loss = tf.reduce_sum(tf.cast(vectors, tf.float32) * tf.cast(upstream, tf.float32))
        gradient = tape.gradient(loss, table)
        return vectors, gradient.indices, gradient.values

    vectors, distinct, sums = run()
    assert vectors.dtype == dtype
    assert sums.dtype == tf.float32
    np.testing.assert_array_equal(vectors, tf.cast(table.numpy()[rows], dtype))
    assert sorted(distinct.numpy()) == sorted(set(rows.tolist()))
    order = np.argsort(distinct.numpy())
    place = order[np.searchsorted(distinct.numpy()[order], rows)]
    expected = np.zeros(sums.shape)
    np.add.at(expected, place, tf.cast(upstream, tf.float64).numpy())
    repeats = np.bincount(place).max() if len(place) else 0
    np.testing.assert_allclose(sums, expected, atol=1e-6 * max(10, repeats))


@pytest.mark.parametrize("index", [tf.int32, tf.int64])
@pytest.mark.parametrize("n", [0, 1, 700])
def test_adagrad_rows(index, n):
    rng = np.random.default_rng(n)
    start, squares = rng.normal(size=(900, 8)).astype("float32"), rng.random((900, 8)).astype("float32")
    rows, gradient = rng.permutation(900)[:n], rng.normal(size=(n, 8)).astype("float32")
    table, accumulator = tf.Variable(start), tf.Variable(squares)
    before = table.read_value()  # a reader that still holds the values must not see them change
    assert kernels.adagrad_rows(table, accumulator, tf.cast(rows, index), tf.constant(gradient), 0.1, 1e-3)
    new_squares, new = squares.astype("float64"), start.astype("float64")
    new_squares[rows] += gradient.astype("float64") ** 2
    new[rows] -= 0.1 * gradient / np.sqrt(new_squares[rows] + 1e-3)
    np.testing.assert_allclose(table, new, atol=1e-6)
    np.testing.assert_allclose(accumulator, new_squares, rtol=1e-6)
    np.testing.assert_array_equal(before, start)


def test_rows_outside_the_table_are_refused():
    table, accumulator = tf.Variable(tf.ones((4, 2))), tf.Variable(tf.ones((4, 2)))
    for row in (-1, 4):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"row {row} of 4"):
            kernels.adagrad_rows(table, accumulator, tf.constant([row]), tf.ones((1, 2)), 0.1, 1e-3)
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"row {row} of 4"):
            kernels.read_rows(table, tf.constant([row]), tf.float32)


TRAIN = """
import sys
import keras, numpy as np, kerasrec as kr
from kerasrec import kernels
item = kr.TableConfig("item", 50, 4)
ids = {name: keras.Input((3,), dtype="int32", name=name) for name in ("a", "b")}
vectors = kr.layers.DistributedEmbedding({name: kr.FeatureConfig(name, item) for name in ids})(ids)
keras.utils.set_random_seed(0)
model = keras.Model(ids, keras.layers.Dense(1)(keras.layers.Concatenate()(list(vectors.values()))))
model.compile(kr.optimizers.Adagrad(0.1), loss="mse")
rng = np.random.default_rng(0)
data = {name: rng.integers(0, 50, (256, 3)) for name in ids}
model.fit(data, rng.normal(size=(256, 1)), batch_size=32, epochs=3, verbose=0, shuffle=False)
print(kernels.compiled() is not None)
np.save(sys.argv[1], model.layers[2].table("item"))
"""


def test_training_is_the_same_without_them(tmp_path):
    """Switched off, or with no compiler that works: a word about it, and the same weights."""
    tables = {}
    for name, setting in {"with": {}, "off": {"KERASREC_KERNELS": "0"}, "broken": {"CXX": "/bin/false"}}.items():
        cache = {"XDG_CACHE_HOME": str(tmp_path)} if name == "broken" else {}
        done = subprocess.run(
            [sys.executable, "-c", TRAIN, str(tmp_path / f"{name}.npy")],
            env={**os.environ, **setting, **cache},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(name == "with")
        assert ("could not compile rows.cc" in done.stderr) == (name == "broken")
        tables[name] = np.load(tmp_path / f"{name}.npy")
    assert not list(tmp_path.rglob("*.so"))
    for name in ("off", "broken"):
        np.testing.assert_allclose(tables[name], tables["with"], atol=1e-6)
