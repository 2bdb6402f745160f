"""`USearch`: an index of the library USearch."""

from __future__ import annotations

import numpy as np

from kerasrec.retrieval.engines.engine import Approximate
from kerasrec.retrieval.scores import Similarity


class USearch(Approximate):
    """Finds candidates with a graph of [USearch](https://github.com/unum-cloud/usearch) (`kerasrec[usearch]`).

    Args:
        connectivity: the neighbours of a candidate in the graph.
        expansion_add: how many candidates are looked at to place one in the graph.
        expansion_search: how many are looked at in a search, at least.

    Raises:
        ImportError: USearch is not installed.

    Source: HNSW, Malkov and Yashunin, https://arxiv.org/abs/1603.09320.
    """

    name = "usearch"

    def __init__(self, connectivity: int = 32, expansion_add: int = 256, expansion_search: int = 256):
        try:
            import usearch.index as usearch
        except ImportError as error:
            raise ImportError(
                'index="usearch" needs the library USearch: pip install "kerasrec[usearch]"'
            ) from error
        self._usearch, self.connectivity = usearch, connectivity
        self.expansion_add, self.expansion_search = expansion_add, expansion_search

    def make(self, candidates: np.ndarray, similarity: Similarity) -> None:
        self._index = self._usearch.Index(
            ndim=candidates.shape[1],
            metric="l2sq" if similarity == "l2" else "ip",
            dtype="f32",
            connectivity=self.connectivity,
            expansion_add=self.expansion_add,
            expansion_search=self.expansion_search,
        )
        self._index.add(np.arange(len(candidates), dtype=np.uint64), candidates)

    def find(self, queries: np.ndarray, k: int) -> np.ndarray:
        self._index.expansion_search = max(self.expansion_search, 2 * k)
        matches = self._index.search(queries, k)
        keys, counts = np.atleast_2d(matches.keys), getattr(matches, "counts", None)
        rows = keys.astype(np.int64)
        if counts is not None:
            rows[np.arange(rows.shape[1]) >= np.asarray(counts)[:, None]] = -1
        return rows
