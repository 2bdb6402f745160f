"""`TFRS`: a top-k layer of TensorFlow Recommenders."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

from kerasrec.retrieval.engines.engine import Approximate
from kerasrec.retrieval.scores import Similarity

if TYPE_CHECKING:
    import tensorflow as tf

BATCH = 1024


class TFRS(Approximate):
    """Finds candidates with a layer of TensorFlow Recommenders, of its `factorized_top_k` (`kerasrec[tfrs]`).

    They are written for Keras 2: `TF_USE_LEGACY_KERAS=1` must be in the environment before TensorFlow is imported.

    Args:
        layer: "brute_force", "streaming" (a block of candidates at a time) or "scann", where that imports.

    Raises:
        ImportError: the library is not installed, or TensorFlow was told to use Keras 3.
    """

    def __init__(self, layer: Literal["brute_force", "streaming", "scann"] = "brute_force"):
        self.name, self.layer = f"tfrs {layer}", layer
        if os.environ.get("TF_USE_LEGACY_KERAS") not in ("1", "true", "True"):
            raise ImportError(
                'index="tfrs" needs Keras 2 for TensorFlow Recommenders: set TF_USE_LEGACY_KERAS=1 in the '
                "environment before TensorFlow is imported (kerasrec itself stays on Keras 3)"
            )
        try:
            import tensorflow_recommenders as tfrs
        except ImportError as error:
            raise ImportError(
                'index="tfrs" needs TensorFlow Recommenders: pip install "kerasrec[tfrs]"'
            ) from error
        layers = tfrs.layers.factorized_top_k
        kinds = {"brute_force": layers.BruteForce, "streaming": layers.Streaming, "scann": layers.ScaNN}
        if layer not in kinds:
            raise ValueError(f"layer must be one of {', '.join(map(repr, kinds))}; got {layer!r}")
        self._make = kinds[layer]

    def make(self, candidates: np.ndarray, similarity: Similarity) -> None:
        import tensorflow as tf

        self._origin = candidates.mean(axis=0) if similarity == "l2" else np.zeros(candidates.shape[1], np.float32)
        factors = self._factors(candidates, similarity)
        self._layer = self._make(k=1)
        if self.layer == "streaming":
            rows = tf.data.Dataset.range(len(factors), output_type=tf.int32)
            pairs = tf.data.Dataset.zip((rows, tf.data.Dataset.from_tensor_slices(factors)))
            self._layer.index_from_dataset(pairs.batch(BATCH))
        else:
            self._layer.index(tf.constant(factors), tf.range(len(factors)))

    def _factors(self, candidates: np.ndarray, similarity: Similarity) -> np.ndarray:
        """Return candidates whose dot products with `[2 q, 1]` order them as their distances to q do."""
        if similarity != "l2":
            return candidates
        centred = candidates - self._origin
        return np.concatenate([centred, -np.square(centred).sum(axis=1, keepdims=True)], axis=1)

    def graph_search(self, factors: tf.Variable) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """Return a search for graphs, of a variable's rows by their dot products with queries.

        "streaming" searches the rows that the variable has at the time, "brute_force" those that it has now.

        Returns:
            A function of queries (n, d) and k, to scores and rows of the k best (n, k).

        Raises:
            ValueError: the layer is "scann", whose index is not a variable.
        """
        import tensorflow as tf

        if self.layer == "scann":
            raise ValueError(
                'a SavedModel cannot search with "scann"; take kr.retrieval.TFRS("streaming") or "brute_force"'
            )
        layer = self._make(k=1)
        if self.layer == "brute_force":
            values = factors.read_value()
            layer.index(values, tf.range(values.shape[0]))

        def search(queries: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            if self.layer == "streaming":
                values = factors.read_value()
                pairs = tf.data.Dataset.from_tensor_slices((tf.range(tf.shape(values)[0]), values))
                layer.index_from_dataset(pairs.batch(BATCH))
            return layer(queries, k=k)

        return search

    def find(self, queries: np.ndarray, k: int) -> np.ndarray:
        if self.similarity == "l2":
            ones = np.ones((len(queries), 1), np.float32)
            queries = np.concatenate([2 * (queries - self._origin), ones], axis=1)
        blocks = [self._layer(queries[start : start + BATCH], k=k)[1] for start in range(0, len(queries), BATCH)]
        return np.concatenate([np.asarray(rows) for rows in blocks])
