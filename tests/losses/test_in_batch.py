"""Losses among a batch's candidates: their formula in float64, keras-rs, memory, and what they count."""

import keras
import keras_rs
import numpy as np
import pytest
import tensorflow as tf
from in_batch_reference import in_batch_scores, softmax_losses
from keras import ops

import kerasrec as kr

ROWS, DIM, COUNT = 24, 6, 12
RNG = np.random.default_rng(0)
IDS = RNG.integers(3, COUNT, ROWS)  # some are repeated


def vectors(seed):
    return np.random.default_rng(seed).normal(size=(ROWS, DIM)).astype("float32")


QUERIES, CANDIDATES = vectors(1), vectors(2)


def losses_of(loss, *batches, training=True):
    """The losses of the last of some batches (queries, candidates, ids) that follow one another."""
    collect = loss.make_candidates(DIM, COUNT)
    for batch in batches:
        losses = loss.per_example(*map(ops.convert_to_tensor, batch), collect, training=training)
    return ops.convert_to_numpy(losses)


@pytest.mark.parametrize("hits", [True, False])
@pytest.mark.parametrize("hard", [None, 3, 100])
@pytest.mark.parametrize("corrected", [True, False])
def test_softmax_is_its_formula(hits, hard, corrected):
    loss = kr.losses.InBatchSoftmax(0.5, corrected, hits, hard)
    rows = in_batch_scores(QUERIES, CANDIDATES, IDS, remove_accidental_hits=hits)
    counts = np.bincount(IDS, minlength=COUNT) if corrected else None
    expected = softmax_losses(rows, IDS, 0.5, counts, hard)
    np.testing.assert_allclose(losses_of(loss, (QUERIES, CANDIDATES, IDS)), expected, atol=1e-5)


@pytest.mark.parametrize("memory", [5, ROWS, 40])
def test_remembered_candidates_are_further_negatives(memory):
    batches = [(vectors(seed), vectors(seed + 10), np.roll(IDS, seed)) for seed in range(3)]
    loss = kr.losses.InBatchSoftmax(0.5, memory=memory)
    earlier = [(c, ids) for _, c, ids in reversed(batches[:-1])]  # the newest first, as they are kept
    kept, kept_ids = (np.concatenate(parts)[:memory] for parts in zip(*earlier, strict=True))
    queries, candidates, ids = batches[-1]
    counts = np.bincount(np.concatenate([ids for *_, ids in batches]), minlength=COUNT)
    expected = softmax_losses(in_batch_scores(queries, candidates, ids, kept, kept_ids), ids, 0.5, counts)
    np.testing.assert_allclose(losses_of(loss, *batches), expected, atol=1e-5)


def test_softmax_is_that_of_keras_rs():
    """Of its layers for sampling probabilities and hard negatives, each value and gradient.

    Its `RemoveAccidentalHits` (0.4) adds 1e-40 to a logit that it means to remove, so that nothing happens.
    """
    labels = keras.ops.eye(ROWS)
    counts = np.bincount(IDS, minlength=COUNT)
    probabilities = (counts / counts.sum())[IDS].astype("float32")
    q, c = tf.Variable(QUERIES), tf.Variable(CANDIDATES)
    with tf.GradientTape() as tape:
        logits = tf.matmul(q, c, transpose_b=True) / 0.3
        logits = keras_rs.layers.SamplingProbabilityCorrection()(logits, probabilities)
        logits, hard_labels = keras_rs.layers.HardNegativeMining(7)(logits, labels)
        expected = keras.losses.categorical_crossentropy(hard_labels, logits, from_logits=True)
    expected_gradients = tape.gradient(expected, [q, c])
    loss = kr.losses.InBatchSoftmax(0.3, remove_accidental_hits=False, hard_negatives=7)
    with tf.GradientTape() as tape:
        losses = loss.per_example(q, c, ops.convert_to_tensor(IDS), loss.make_candidates(DIM, COUNT), True)
    np.testing.assert_allclose(losses, expected, atol=1e-5)
    for gradient, other in zip(tape.gradient(losses, [q, c]), expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, other, atol=1e-5)


def test_only_training_counts_and_remembers():
    loss = kr.losses.InBatchSoftmax(memory=ROWS)
    collect = loss.make_candidates(DIM, COUNT)
    batch = tuple(map(ops.convert_to_tensor, (QUERIES, CANDIDATES, IDS)))
    loss.per_example(*batch, collect, training=False)
    assert not any(np.any(weight) for weight in collect.get_weights() if weight.min() >= 0)
    for _ in range(2):
        loss.per_example(*batch, collect, training=True)
    np.testing.assert_array_equal(collect.counts, 2 * np.bincount(IDS, minlength=COUNT))
    np.testing.assert_array_equal(collect.memory_ids, IDS)


@pytest.mark.parametrize("ids", [np.full(ROWS, 4), np.array([7])])
def test_a_batch_without_negatives_costs_nothing(ids):
    for options in ({}, {"hard_negatives": 2}, {"memory": 3}):
        rows = len(ids)
        losses = losses_of(kr.losses.InBatchSoftmax(**options), (QUERIES[:rows], CANDIDATES[:rows], ids))
        np.testing.assert_array_equal(losses, np.zeros(rows))


def test_wrong_arguments_are_refused():
    for wrong in ({"temperature": 0}, {"temperature": -1.0}, {"hard_negatives": 0}, {"memory": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            kr.losses.InBatchSoftmax(**wrong)


def test_config_makes_the_same_loss():
    loss = kr.losses.InBatchSoftmax(0.1, False, False, 5, 7)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(copy) is kr.losses.InBatchSoftmax
    assert copy.get_config() == loss.get_config()
