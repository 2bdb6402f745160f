"""The metrics of a ranking, beside those of Keras Recommenders and TensorFlow Recommenders on the same vectors."""

import importlib.util
import os
import subprocess
import sys

import keras_rs
import numpy as np
import pytest

from kerasrec.retrieval import Lists, RankingReport, target_ranks


@pytest.mark.parametrize("k", [1, 5, 20])
def test_metrics_are_those_of_keras_rs(k):
    rng = np.random.default_rng(0)
    queries, candidates = rng.normal(size=(50, 6)).astype("f4"), rng.normal(size=(40, 6)).astype("f4")
    targets = Lists.of([rng.choice(40, rng.integers(1, 6), replace=False) for _ in range(50)])
    relevant = np.zeros((50, 40), "f4")
    relevant[targets.row_numbers, targets.values] = 1
    report = RankingReport.of(target_ranks(queries, candidates, targets), targets.offsets, candidates=40, at=k)
    peers = {
        "ndcg": keras_rs.metrics.NDCG(k=k),
        "mrr": keras_rs.metrics.MeanReciprocalRank(k=k),
        "recall": keras_rs.metrics.RecallAtK(k=k),
    }
    for name, metric in peers.items():
        metric.update_state(relevant, queries @ candidates.T)
        assert float(metric.result()) == pytest.approx(report[f"{name}@{k}"], abs=1e-6), name


SCRIPT = """
import numpy as np, tensorflow as tf, tensorflow_recommenders as tfrs
from kerasrec.retrieval import Lists, RankingReport, target_ranks, top_k
from kerasrec.retrieval import TFRS
rng = np.random.default_rng(0)
for similarity in ("dot", "cosine", "l2"):
    q, c = rng.normal(size=(700, 16)).astype("f4"), rng.normal(size=(500, 16)).astype("f4")
    if similarity == "cosine":
        q, c = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (q, c))
    target = rng.integers(0, 500, 700)
    ranks = target_ranks(q, c, Lists.one_per_row(target), similarity=similarity)
    report = RankingReport.of(ranks, candidates=500, at=(1, 5, 10, 50, 100))
    if similarity != "l2":
        data = tf.data.Dataset.zip((tf.data.Dataset.range(500), tf.data.Dataset.from_tensor_slices(c))).batch(64)
        layers = tfrs.layers.factorized_top_k
        for layer in (layers.Streaming(k=100), layers.BruteForce(k=100)):
            metric = tfrs.metrics.FactorizedTopK(layer.index_from_dataset(data), ks=(1, 5, 10, 50, 100))
            metric.update_state(tf.constant(q), tf.constant(c[target]), tf.constant(target))
            for k, value in zip((1, 5, 10, 50, 100), metric.result()):
                assert abs(float(value) - report[f"hit_rate@{k}"]) < 1e-6, (similarity, k, float(value), report)
    best = top_k(q, c, 7, similarity=similarity, exclude=Lists.one_per_row(target))
    for layer in ("brute_force", "streaming"):
        engine = TFRS(layer)
        engine.build(c, similarity)
        found = engine.search(q, 7, Lists.one_per_row(target))
        assert (found.rows == best.rows).mean() > 0.999, (similarity, layer)
        assert np.abs(found.scores - best.scores).max() < 1e-4
print("equal")
"""


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_recommenders") is None, reason="TensorFlow Recommenders is not installed"
)
def test_hit_rates_and_lists_are_those_of_tensorflow_recommenders():
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "equal", done.stderr[-3000:]
