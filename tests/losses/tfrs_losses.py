"""Prints how far `InBatchSoftmax` is from TensorFlow Recommenders' `Retrieval` task, in value and gradients.

A process of its own, for TF_USE_LEGACY_KERAS: TensorFlow Recommenders needs Keras 2.
"""

import itertools
import json

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

import kerasrec as kr

ROWS, DIM, COUNT = 64, 16, 30
RNG = np.random.default_rng(0)
QUERIES, CANDIDATES = (tf.Variable(RNG.normal(size=(ROWS, DIM)) / 2, dtype=tf.float32) for _ in range(2))
IDS = tf.constant(RNG.integers(0, COUNT, ROWS), tf.int32)  # some are repeated
COUNTS = np.bincount(IDS, minlength=COUNT)
PROBABILITIES = tf.constant(COUNTS[IDS.numpy()] / ROWS, tf.float32)


def difference(temperature: float, corrected: bool, hits: bool, hard: int | None) -> float:
    """The largest difference of the mean loss, and of a gradient's element, relative to the largest."""
    task = tfrs.tasks.Retrieval(
        num_hard_negatives=hard, remove_accidental_hits=hits, temperature=temperature, batch_metrics=[]
    )
    loss = kr.losses.InBatchSoftmax(temperature, corrected, hits, hard)
    with tf.GradientTape(persistent=True) as tape:
        theirs = task(
            QUERIES,
            CANDIDATES,
            candidate_ids=IDS if hits else None,
            candidate_sampling_probability=PROBABILITIES if corrected else None,
            compute_metrics=False,
        )
        collect = loss.make_candidates(DIM, COUNT)
        ours = tf.reduce_sum(loss.per_example(QUERIES, CANDIDATES, IDS, collect, training=True))
    pairs = [(ours, theirs)]
    pairs += [(tape.gradient(ours, v), tape.gradient(theirs, v)) for v in (QUERIES, CANDIDATES)]
    return max(float(tf.reduce_max(tf.abs(a - b)) / tf.reduce_max(tf.abs(b))) for a, b in pairs)


cases = itertools.product((0.05, 0.5, 1.0), (True, False), (True, False), (None, 5, 1000))
print(json.dumps({str(case): difference(*case) for case in cases}))
