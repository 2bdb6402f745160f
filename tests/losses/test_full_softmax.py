"""FullSoftmax's loss and gradients, against float64 NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrec as kr
from kerasrec.losses import full_softmax

COUNT, DIM, FIRST = 30, 5, 3


class Matrix:
    """Items whose vectors are rows of a variable."""

    count, first_id = COUNT, FIRST

    def __init__(self):
        self.vectors = tf.Variable(np.random.default_rng(0).normal(size=(COUNT, DIM)).astype("float32"))

    def lookup(self, ids):
        return tf.gather(self.vectors, ids)

    def all(self):
        return tf.convert_to_tensor(self.vectors)


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
@pytest.mark.parametrize("traced", [False, True])
def test_loss_and_gradients(examples, traced, monkeypatch):
    monkeypatch.setattr(full_softmax, "BLOCK", 100)
    rng = np.random.default_rng(1)
    queries = tf.Variable(3 * rng.normal(size=(examples, DIM)).astype("float32"))
    positives = rng.integers(FIRST, COUNT, examples).astype("int32")
    weights = rng.integers(0, 3, examples).astype("float32")
    items, seed = Matrix(), keras.random.SeedGenerator(0)
    loss = kr.losses.FullSoftmax()

    def step():
        with tf.GradientTape() as tape:
            total = loss.weighted_sum(queries, positives, items, seed, weights)
            scaled = 2 * total
        return total, tape.gradient(scaled, [queries, items.vectors])

    total, (of_queries, of_items) = (tf.function(step) if traced else step)()
    losses, expected_queries, expected_items = in_numpy(queries.numpy(), items.vectors.numpy(), positives, weights)
    np.testing.assert_allclose(total, (losses * weights).sum(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(of_queries, 2 * expected_queries, atol=2e-5)
    np.testing.assert_allclose(of_items, 2 * expected_items, atol=1e-4)
    np.testing.assert_allclose(loss.per_example(queries, positives, items, seed), losses, atol=1e-5)


def test_without_weights_every_example_counts_once():
    queries, positives = np.random.default_rng(2).normal(size=(7, DIM)).astype("float32"), np.arange(3, 10)
    loss, items, seed = kr.losses.FullSoftmax(), Matrix(), keras.random.SeedGenerator(0)
    losses = loss.per_example(queries, positives, items, seed)
    np.testing.assert_allclose(loss.weighted_sum(queries, positives, items, seed), np.sum(losses), rtol=1e-5)
    nothing = loss.weighted_sum(queries[:0], positives[:0], items, seed)
    assert float(nothing) == 0


def test_scores_beyond_the_range_of_exp():
    queries = np.array([[200.0, 0, 0, 0, 0], [-200.0, 0, 0, 0, 0]], "float32")
    items = Matrix()
    items.vectors.assign(np.linspace(-1, 1, COUNT)[:, None] * np.eye(DIM)[0])
    found = kr.losses.FullSoftmax().weighted_sum(queries, np.array([5, 9]), items, keras.random.SeedGenerator(0))
    losses, *_ = in_numpy(queries, items.vectors.numpy(), np.array([5, 9]), np.ones(2))
    np.testing.assert_allclose(found, losses.sum(), rtol=1e-5)


def test_it_is_saved():
    config = keras.saving.serialize_keras_object(kr.losses.FullSoftmax())
    assert isinstance(keras.saving.deserialize_keras_object(config), kr.losses.FullSoftmax)
