"""FullSoftmax's loss and gradients, against float64 NumPy."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrec as kr
from kerasrec.losses import full_softmax, tiled_softmax

COUNT, DIM, FIRST = 30, 5, 3


class Rows:
    """Items whose vectors are rows of a variable."""

    def __init__(self, vectors, first_id=0):
        self.vectors, self.count, self.first_id = vectors, vectors.shape[0], first_id

    def lookup(self, ids):
        return tf.gather(self.vectors, ids)

    def all(self):
        return tf.convert_to_tensor(self.vectors)


def items_of_a_matrix():
    return Rows(tf.Variable(np.random.default_rng(0).normal(size=(COUNT, DIM)).astype("float32")), FIRST)


def in_numpy(queries, matrix, positives, weights):
    """The loss of each example, and the gradients of the weighted sum by queries and items."""
    q, e = np.float64(queries), np.float64(matrix)[FIRST:]
    scores = q @ e.T
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    own = np.eye(COUNT)[:, FIRST:][positives]
    losses = -np.log((p * own).sum(1))
    difference = weights[:, None] * (p - own)
    return losses, difference @ e, np.concatenate([np.zeros((FIRST, DIM)), difference.T @ q])


@pytest.mark.parametrize("examples", [1, 63, 64, 200])  # a block has 64 examples at least
@pytest.mark.parametrize("blocks", ["of rows", "of rows, traced", "tiles", "one tile", "tiles, traced"])
def test_loss_and_gradients(examples, blocks, monkeypatch):
    monkeypatch.setattr(full_softmax, "BLOCK", 64 * (COUNT - FIRST) - ("tile" in blocks))
    if "tiles" in blocks:
        monkeypatch.setattr(tiled_softmax, "QUERIES", 21)
        monkeypatch.setattr(tiled_softmax, "ITEMS", 13)
    rng = np.random.default_rng(1)
    queries = tf.Variable(3 * rng.normal(size=(examples, DIM)).astype("float32"))
    positives = rng.integers(FIRST, COUNT, examples).astype("int32")
    weights = rng.integers(0, 3, examples).astype("float32")
    items, seed = items_of_a_matrix(), keras.random.SeedGenerator(0)
    loss = kr.losses.FullSoftmax()

    def step():
        with tf.GradientTape() as tape:
            total = loss.weighted_sum(queries, positives, items, seed, weights)
            scaled = 2 * total
        return total, tape.gradient(scaled, [queries, items.vectors])

    total, (of_queries, of_items) = (tf.function(step) if "traced" in blocks else step)()
    losses, expected_queries, expected_items = in_numpy(queries.numpy(), items.vectors.numpy(), positives, weights)
    np.testing.assert_allclose(total, (losses * weights).sum(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(of_queries, 2 * expected_queries, atol=2e-5)
    np.testing.assert_allclose(of_items, 2 * expected_items, atol=1e-4)
    np.testing.assert_allclose(loss.per_example(queries, positives, items, seed), losses, atol=1e-5)


@pytest.mark.parametrize("most", [1, 27 * 7, 5000])
def test_blocks_on_backends_with_known_shapes(most):
    rng = np.random.default_rng(1)
    queries, matrix = rng.normal(size=(20, DIM)).astype("float32"), items_of_a_matrix().vectors.numpy()
    positives, weights = rng.integers(FIRST, COUNT, 20), rng.integers(0, 3, 20).astype("float32")
    scanned = tf.function(functools.partial(full_softmax._mapped, most=most))
    found = scanned(*map(tf.constant, (queries, matrix[FIRST:], positives - FIRST, weights)))
    losses, of_queries, of_items = in_numpy(queries, matrix, positives, weights)
    for one, other in zip(found, ((losses * weights).sum(), of_queries, of_items[FIRST:]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)


def test_the_scores_of_all_items_are_never_in_memory_together():
    count, examples = 200_000, 500  # 400 MB of scores
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    before = memory("VmRSS")
    with tf.GradientTape() as tape:
        vectors = tf.Variable(tf.random.stateless_normal((count, 8), [1, 2]))
        items = Rows(vectors)
        total = kr.losses.FullSoftmax().weighted_sum(vectors[:examples], np.arange(examples), items, None)
    tape.gradient(total, vectors)
    assert memory("VmHWM") - before < 150


def memory(name):
    """Megabytes of this process."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name)) / 1000


def test_without_weights_every_example_counts_once():
    queries, positives = np.random.default_rng(2).normal(size=(7, DIM)).astype("float32"), np.arange(3, 10)
    loss, items, seed = kr.losses.FullSoftmax(), items_of_a_matrix(), keras.random.SeedGenerator(0)
    losses = loss.per_example(queries, positives, items, seed)
    np.testing.assert_allclose(loss.weighted_sum(queries, positives, items, seed), np.sum(losses), rtol=1e-5)
    nothing = loss.weighted_sum(queries[:0], positives[:0], items, seed)
    assert float(nothing) == 0


def test_scores_beyond_the_range_of_exp():
    queries = np.array([[200.0, 0, 0, 0, 0], [-200.0, 0, 0, 0, 0]], "float32")
    items = items_of_a_matrix()
    items.vectors.assign(np.linspace(-1, 1, COUNT)[:, None] * np.eye(DIM)[0])
    found = kr.losses.FullSoftmax().weighted_sum(queries, np.array([5, 9]), items, keras.random.SeedGenerator(0))
    losses, *_ = in_numpy(queries, items.vectors.numpy(), np.array([5, 9]), np.ones(2))
    np.testing.assert_allclose(found, losses.sum(), rtol=1e-5)


def test_it_is_saved():
    config = keras.saving.serialize_keras_object(kr.losses.FullSoftmax())
    assert isinstance(keras.saving.deserialize_keras_object(config), kr.losses.FullSoftmax)
