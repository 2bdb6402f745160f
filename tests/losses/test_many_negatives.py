"""SampledSoftmax and GBCE, against float64 NumPy for known draws and against their expectation for random ones."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrec as kr
from kerasrec.losses import many_negatives

COUNT, DIM, FIRST, EXAMPLES, NEGATIVES = 30, 5, 3, 100, 4
ITEMS = COUNT - FIRST
LOSSES = {"softmax": kr.losses.SampledSoftmax, "gbce": kr.losses.GBCE}


class Matrix:
    """Items whose vectors are rows of a variable."""

    count, first_id = COUNT, FIRST

    def __init__(self):
        self.vectors = tf.Variable(np.random.default_rng(0).normal(size=(COUNT, DIM)).astype("float32"))

    def lookup(self, ids):
        return tf.gather(self.vectors, ids)

    def all(self):
        return tf.convert_to_tensor(self.vectors)


def softplus(x):
    return np.logaddexp(0, x)


def in_numpy(name, own, drawn, counts, n=NEGATIVES, t=0.75):
    """The loss of each example, of scores (n,), (n, m) and which of the latter count."""
    if name == "softmax":
        return np.log(np.exp(own) + (counts * np.exp(drawn)).sum(1)) - own
    alpha = n / (ITEMS - 1)
    beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha)
    offset = np.log(beta / n)
    return (beta * softplus(-own - offset) + (counts * softplus(drawn + offset)).sum(1)) / n


@pytest.mark.parametrize("name", LOSSES)
def test_known_draws_and_their_gradients(name, monkeypatch):
    monkeypatch.setattr(many_negatives, "BLOCK", 100)  # two blocks
    rng = np.random.default_rng(1)
    queries = tf.Variable(rng.normal(size=(EXAMPLES, DIM)).astype("float32"))
    positives = np.arange(EXAMPLES, dtype="int32") % ITEMS + FIRST
    weights = rng.integers(0, 3, EXAMPLES).astype("float32")
    items, among = Matrix(), LOSSES[name](NEGATIVES).among(ITEMS)

    def draw(own):  # with an accidental hit and a repeated item
        return tf.stack([own, own % 7 + 5, own % 11 + 4, own % 7 + 5], axis=1)

    with tf.GradientTape() as tape:
        compare = lambda own, scores, ids, counts: among(own, scores, counts)  # noqa: E731
        total = 3 * many_negatives._blockwise(compare, draw, queries, items.all(), positives, weights)
    found = [total, *tape.gradient(total, [queries, items.vectors])]

    ids = draw(positives).numpy()
    with tf.GradientTape() as tape:
        vectors = tf.gather(items.vectors, np.concatenate([positives[:, None], ids], axis=1))
        scores = tf.einsum("nd,nmd->nm", queries, vectors)
        losses = among(scores[:, 0], scores[:, 1:], ids != positives[:, None])
        total = 3 * tf.reduce_sum(weights * losses)
    own, drawn = np.float64(scores[:, 0]), np.float64(scores[:, 1:])
    expected = in_numpy(name, own, drawn, ids != positives[:, None])
    np.testing.assert_allclose(losses, expected, atol=1e-5)
    np.testing.assert_allclose(found[0], 3 * (weights * expected).sum(), rtol=1e-5)
    gradients = tape.gradient(total, [queries, items.vectors])
    np.testing.assert_allclose(found[1], gradients[0], atol=1e-4)
    np.testing.assert_allclose(found[2], tf.convert_to_tensor(gradients[1]), atol=1e-3)


@pytest.mark.parametrize("way", ["all scores", "drawn vectors", "shared", "groups"])
def test_every_way_draws_uniformly_from_the_items(way, monkeypatch):
    """GBCE is a sum over negatives, so its expectation is that over all items."""
    monkeypatch.setattr(many_negatives, "FEW_ITEMS", 0 if way == "drawn vectors" else 64)
    loss, items = kr.losses.GBCE(200, shared={"shared": True, "groups": 16}.get(way, False)), Matrix()
    queries, positives = (
        np.random.default_rng(2).normal(size=(50, DIM)).astype("float32"),
        np.arange(50) % ITEMS + 3,
    )
    scores = np.float64(queries @ items.all().numpy().T)
    own = scores[np.arange(50), positives]
    share = min(200 / (ITEMS - 1), 1)
    beta = share * (0.75 * (1 - 1 / share) + 1 / share)
    offset = np.log(beta / 200)
    others = np.where(np.arange(COUNT) == positives[:, None], 0, softplus(scores + offset))[:, FIRST:].mean(1)
    expected = beta * softplus(-own - offset) / 200 + others
    generator = keras.random.SeedGenerator(0)
    found = np.mean([loss.weighted_sum(queries, positives, items, generator) for _ in range(40)])
    assert found == pytest.approx(expected.sum(), rel=0.02)


def test_gbce_of_t_0_is_binary_cross_entropy_and_of_t_1_is_calibrated():
    own, drawn, counts = np.array([0.3]), np.array([[0.1, -2.0, 1.0, 0.7]]), np.ones((1, 4))
    for t, beta in {0.0: 1.0, 1.0: 4 / (ITEMS - 1)}.items():
        for offset in (0.0, -1.5):
            found = kr.losses.GBCE(4, t, offset=offset).among(ITEMS)(*map(tf.constant, (own, drawn, counts)))
            expected = (beta * softplus(-own - offset) + softplus(drawn + offset).sum(1)) / 4
            np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("t", [0.0, 0.75, 1.0])
def test_scores_of_0_are_a_minimum_where_they_may_only_move_together(t):
    """The default offset is the share of positives: scores that are all equal have nothing to learn."""
    compare, shift = kr.losses.GBCE(64, t).among(1000), tf.Variable(0.0, dtype="float64")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(compare(tf.zeros(3, "float64") + shift, tf.zeros((3, 64), "float64") + shift, True))
    assert float(tape.gradient(loss, shift)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_an_example_that_does_not_count_has_no_gradient(name):
    items = Matrix()
    queries = tf.Variable(np.full((2, DIM), 1.0, "float32"))
    for shared in (True, False, 2, 3):
        loss = LOSSES[name](8, shared=shared)
        with tf.GradientTape() as tape:
            total = loss.weighted_sum(
                queries, np.array([4, 0]), items, keras.random.SeedGenerator(0), np.array([1, 0])
            )
        gradient = tf.convert_to_tensor(tape.gradient(total, queries)).numpy()
        assert gradient[0].any()
        assert not gradient[1].any()


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("examples", [0, 1, 6, 7, 100])
@pytest.mark.parametrize("name", LOSSES)
def test_groups_of_consecutive_examples_share_their_negatives(name, examples, traced, monkeypatch):
    rng, items, loss = np.random.default_rng(1), Matrix(), LOSSES[name](NEGATIVES, shared=3)
    queries = tf.constant(rng.normal(size=(examples, DIM)).astype("float32"))
    positives = tf.constant(rng.integers(FIRST, COUNT, examples).astype("int32"))
    groups = -(-examples // 3)
    ids = rng.integers(FIRST, COUNT, (groups, NEGATIVES)).astype("int32")
    monkeypatch.setattr(loss, "draw_ids", lambda shape, *_: tf.reshape(ids, shape))
    seed = keras.random.SeedGenerator(0)
    per_example = lambda q, p: loss.per_example(q, p, items, seed)  # noqa: E731
    if traced:
        signature = [tf.TensorSpec((None, DIM)), tf.TensorSpec((None,), "int32")]
        per_example = tf.function(per_example, input_signature=signature)
    drawn = np.repeat(ids, 3, axis=0)[:examples]
    scores = np.float64(queries @ tf.transpose(items.all()))
    own = np.take_along_axis(scores, positives.numpy()[:, None], 1)[:, 0]
    negatives = np.take_along_axis(scores, drawn, 1)
    expected = in_numpy(name, own, negatives, drawn != positives.numpy()[:, None])
    np.testing.assert_allclose(per_example(queries, positives), expected, atol=1e-5)


def test_arguments_and_files():
    losses = (kr.losses.SampledSoftmax(7, shared=True), kr.losses.GBCE(5, t=0.5), kr.losses.GBCE(5, shared=128))
    for loss in losses:
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
        assert type(copy) is type(loss)
        assert copy.get_config() == loss.get_config()
    with pytest.raises(ValueError, match=r"t must be in \[0, 1\]; got 1.5"):
        kr.losses.GBCE(t=1.5)
    with pytest.raises(ValueError, match="offset must be a finite number, or None; got nan"):
        kr.losses.GBCE(offset=float("nan"))
    with pytest.raises(ValueError, match="negatives must be an integer >= 1; got 0"):
        kr.losses.SampledSoftmax(0)
    for shared in (0, 1, -3, 2.5):
        with pytest.raises(ValueError, match=f"shared must be True, False, or an integer >= 2; got {shared}"):
            kr.losses.GBCE(5, shared=shared)
    with pytest.raises(ValueError, match="cannot compare the candidates of a batch"):
        kr.losses.GBCE().compare(1, 2, 3)
