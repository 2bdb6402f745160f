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


@st.composite
def features(draw):
    """Lists of ids of a few features, some sharing a table; what is padded has no zeros in its lists."""
    made = []
    for _ in range(draw(st.integers(1, 4))):
        form = draw(st.sampled_from(["single", "padded", "ragged"]))
        ids = st.integers(form == "padded", 6)
        lists = st.lists(ids, min_size=form == "single", max_size=1 if form == "single" else 4)
        made.append(
            {
                "form": form,
                "table": draw(st.integers(0, 1)),
                "lists": draw(st.lists(lists, max_size=9)),
                "combiner": draw(st.sampled_from(["sum", "mean", "sqrtn"])),
                "weighted": draw(st.booleans()) and form != "padded",
            }
        )
    return made


@settings(max_examples=80, deadline=None)
@given(
    features=features(),
    width=st.sampled_from([1, 3, 32]),
    index=st.sampled_from([tf.int32, tf.int64]),
    row=st.sampled_from([tf.int32, tf.int64]),
    dtype=st.sampled_from([tf.float32, tf.bfloat16]),
    seed=st.integers(0, 9),
)
def test_vectors_and_gradients(features, width, index, row, dtype, seed):
    check_look_up(features, 7, width, index, row, dtype, seed)


@pytest.mark.parametrize("index", [tf.int32, tf.int64])
@pytest.mark.parametrize("size", [30, 1_500_000])
@pytest.mark.parametrize("tables", [(0, 0), (0, 1)])
def test_many_rows_on_all_cores(index, size, tables):
    rng = np.random.default_rng(1)
    lists = [rng.integers(1, size, 50).tolist() for _ in range(1200)]
    both = [
        {"form": form, "table": table, "lists": lists[i::2], "combiner": "mean", "weighted": False}
        for i, (form, table) in enumerate(zip(("padded", "ragged"), tables, strict=True))
    ]
    check_look_up(both, size, 8, index, tf.int32, tf.float32, 0)


def check_look_up(features, size, width, index, row, dtype, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2 * size, width)).astype("float32")
    table = tf.Variable(values)
    spans = [kernels.Span(f"t{feature['table']}", size * feature["table"], size) for feature in features]
    ids, splits, hotness, weights, upstream = [], [], [], [], []
    for feature in features:
        lists = feature["lists"]
        longest = max([1, *map(len, lists)])
        flat = [i for each in lists for i in each + [0] * (longest - len(each)) * (feature["form"] == "padded")]
        ids.append(tf.constant(np.array(flat, "int64"), index))
        ragged = feature["form"] == "ragged"
        splits.append(tf.constant(np.cumsum([0, *map(len, lists)]) if ragged else [], tf.int64))
        hotness.append({"single": 1, "padded": longest, "ragged": 0}[feature["form"]])
        n = sum(map(len, lists)) if feature["weighted"] else 0
        weights.append(tf.constant(rng.normal(size=n).astype("float32")))
        upstream.append(tf.cast(rng.normal(size=(len(lists), width)), dtype))

    @tf.function
    def run():
        padded = [feature["form"] == "padded" for feature in features]
        bags = kernels.find_rows(ids, splits, hotness, padded, spans, [f"f{i}" for i in range(len(ids))], row)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            combiners = [feature["combiner"] for feature in features]
            vectors = kernels.look_up(table, bags, weights, combiners, spans, dtype)
            loss = sum(
                tf.reduce_sum(tf.cast(v, tf.float32) * tf.cast(u, tf.float32))
                for v, u in zip(vectors, upstream, strict=True)
            )
        gradient, by_weights = tape.gradient(loss, [table, weights])
        return vectors, gradient.indices, gradient.values, by_weights

    vectors, distinct, sums, by_weights = run()
    seen = set()
    expected_gradient = np.zeros(values.shape)
    scale = {"sum": lambda n: 1.0, "mean": lambda n: 1 / n, "sqrtn": lambda n: n**-0.5}
    for f, feature in enumerate(features):
        exact = values.astype("float64")[size * feature["table"] :]
        above = tf.cast(upstream[f], tf.float64).numpy()
        own = iter(weights[f].numpy().astype("float64"))
        slopes = []
        for b, each in enumerate(feature["lists"]):
            equal = scale[feature["combiner"]](len(each)) if each else 0
            shares = [equal * (next(own) if feature["weighted"] else 1.0) for _ in each]
            total = sum((share * exact[i] for share, i in zip(shares, each, strict=True)), np.zeros(width))
            np.testing.assert_allclose(
                tf.cast(vectors[f][b], tf.float64), total, atol=1e-4 if dtype == tf.float32 else 0.1
            )
            for share, i in zip(shares, each, strict=True):
                seen.add(i + size * feature["table"])
                expected_gradient[i + size * feature["table"]] += share * above[b]
                slopes.append(equal * exact[i] @ above[b])
        if slopes and feature["weighted"]:
            np.testing.assert_allclose(by_weights[f], slopes, atol=1e-4)
        assert vectors[f].dtype == dtype
    assert sorted(distinct.numpy()) == sorted(seen)
    assert sums.dtype == tf.float32
    got = np.zeros(values.shape)
    got[distinct.numpy()] = sums
    np.testing.assert_allclose(got, expected_gradient, atol=2e-5 * max(1, np.abs(expected_gradient).max()))


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
    none, once, span = tf.zeros((0,), tf.int64), tf.zeros((0,)), kernels.Span("t", 0, 4)
    for row in (-1, 4):
        with pytest.raises(tf.errors.InvalidArgumentError, match=rf"row {row} is out of range \[0, 4\)"):
            kernels.adagrad_rows(table, accumulator, tf.constant([row]), tf.ones((1, 2)), 0.1, 1e-3)
        with pytest.raises(tf.errors.InvalidArgumentError, match=rf"row {row} is out of range \[0, 4\)"):
            bags = kernels.Bags(tf.constant([row]), tf.constant([0, 1]), tf.constant([0, 1]))
            kernels.look_up(table, bags, [once], ["sum"], [span], tf.float32)
        with pytest.raises(
            tf.errors.InvalidArgumentError, match=rf"'f': id {row} is out of range \[0, 4\) of table 't'"
        ):
            kernels.find_rows(
                [tf.constant([row])], [none], [1], [False], [kernels.Span("t", 0, 4)], ["f"], tf.int32
            )


def test_bags_that_do_not_fit_are_refused():
    none, span = tf.zeros((0,), tf.int64), kernels.Span("t", 0, 4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="'f': 3 ids cannot be split into lists"):
        kernels.find_rows([tf.constant([0, 1, 2])], [none], [2], [False], [span], ["f"], tf.int32)
    for splits in ([], [0, 2], [0, 4], [1, 3], [0, 2, 1, 3]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="'f': 3 ids cannot be split into lists"):
            cuts = tf.constant(splits, tf.int64)
            kernels.find_rows([tf.constant([0, 1, 2])], [cuts], [0], [False], [span], ["f"], tf.int32)
    table = tf.Variable(tf.ones((4, 2)))
    bags = kernels.find_rows([tf.constant([0, 1, 2])], [none], [1], [False], [span], ["f"], tf.int32)
    with pytest.raises(tf.errors.InvalidArgumentError, match="2 weights for 3 ids"):
        kernels.look_up(table, bags, [tf.ones((2,))], ["sum"], [span], tf.float32)
    with pytest.raises(tf.errors.InvalidArgumentError, match="bags do not match 3 rows"):
        wrong = bags._replace(bags=tf.constant([0, 1, 2]))
        kernels.look_up(table, wrong, [tf.zeros((0,))], ["sum"], [span], tf.float32)


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
