"""`Faiss`: an index of the library Faiss."""

from __future__ import annotations

import numpy as np

from kerasrec.retrieval.engines.engine import Approximate
from kerasrec.retrieval.scores import Similarity


class Faiss(Approximate):
    """Finds candidates with an index of [Faiss](https://github.com/facebookresearch/faiss) (`kerasrec[faiss]`).

    Args:
        factory: which index, as `faiss.index_factory` takes it: "HNSW32" (a graph, Malkov and Yashunin,
            https://arxiv.org/abs/1603.09320), "IVF1024,Flat" (lists of near candidates), "Flat" (all) and others.
        parameters: of the search, as `faiss.ParameterSpace` takes them: "efSearch=256" for a graph, "nprobe=16"
            for lists.

    Raises:
        ImportError: Faiss is not installed.

    Example:

    >>> index = kr.retrieval.Index(model, items, index=kr.retrieval.Faiss("IVF1024,Flat", "nprobe=16"))
    """

    def __init__(self, factory: str = "HNSW32", parameters: str | None = None):
        try:
            import faiss
        except ImportError as error:
            raise ImportError('index="faiss" needs the library Faiss: pip install "kerasrec[faiss]"') from error
        self._faiss, self.factory = faiss, factory
        self.parameters = "efSearch=256" if parameters is None and factory.startswith("HNSW") else parameters
        self.name = f"faiss {factory}"

    def make(self, candidates: np.ndarray, similarity: Similarity) -> None:
        metric = self._faiss.METRIC_L2 if similarity == "l2" else self._faiss.METRIC_INNER_PRODUCT
        self._index = self._faiss.index_factory(candidates.shape[1], self.factory, metric)
        if not self._index.is_trained:
            self._index.train(candidates)
        self._index.add(candidates)
        if self.parameters:
            self._faiss.ParameterSpace().set_index_parameters(self._index, self.parameters)

    def find(self, queries: np.ndarray, k: int) -> np.ndarray:
        return self._index.search(queries, k)[1]
