"""`Engine`: what finds the best of some candidates; and the exact one."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from kerasrec.retrieval.lists import Lists
from kerasrec.retrieval.ranking import top_k
from kerasrec.retrieval.scores import Similarity, unit_length
from kerasrec.retrieval.selection import TopK


class Engine(Protocol):
    """Finds the best of some candidates.

    Attributes:
        name: for messages.
        exact: whether it always finds the best ones.
    """

    @property
    def name(self) -> str: ...

    @property
    def exact(self) -> bool: ...

    def build(self, candidates: np.ndarray, similarity: Similarity) -> None:
        """Take the candidates' vectors (m, d) float32, in the place of earlier ones."""
        ...

    def search(self, queries: np.ndarray, k: int, exclude: Lists | None) -> TopK:
        """Return the k best candidates of queries (n, d), without those to exclude."""
        ...


class Exact:
    """Compares every query with every candidate: `kr.retrieval.top_k`."""

    name, exact = "exact", True

    def build(self, candidates: np.ndarray, similarity: Similarity) -> None:
        self.candidates, self.similarity = candidates, similarity

    def search(self, queries: np.ndarray, k: int, exclude: Lists | None) -> TopK:
        return top_k(queries, self.candidates, k, similarity=self.similarity, exclude=exclude)


class Approximate:
    """The base of engines of other libraries, which may miss some of the best candidates.

    A subclass defines `make` and `find`. Scores are computed here, of the candidates that were found. To leave
    candidates out, as many more are searched for.
    """

    name, exact = "approximate", False

    def make(self, candidates: np.ndarray, similarity: Similarity) -> None:
        """Build the library's index of vectors (m, d) float32; for "cosine" they are of length 1."""
        raise NotImplementedError

    def find(self, queries: np.ndarray, k: int) -> np.ndarray:
        """Return the rows of about the k <= m best candidates of each query, (n, k) integers; -1 for none."""
        raise NotImplementedError

    def build(self, candidates: np.ndarray, similarity: Similarity) -> None:
        candidates = np.ascontiguousarray(candidates, np.float32)
        self.candidates = unit_length(candidates) if similarity == "cosine" else candidates
        self.similarity = similarity
        if len(candidates):
            self.make(self.candidates, similarity)

    def search(self, queries: np.ndarray, k: int, exclude: Lists | None) -> TopK:
        queries = np.ascontiguousarray(queries, np.float32)
        queries = unit_length(queries) if self.similarity == "cosine" else queries
        most = 0 if exclude is None else int(exclude.lengths.max(initial=0))
        wide = min(k + most, len(self.candidates))
        rows = self.find(queries, wide) if wide and len(queries) else np.empty((len(queries), 0), np.int64)
        rows = rows.astype(np.int64)
        scores = self._scores(queries, rows)
        if exclude is not None and rows.size:
            count = len(self.candidates)
            pairs = np.arange(len(rows))[:, None] * count + rows
            scores[np.isin(pairs, exclude.row_numbers * count + exclude.values)] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best = TopK(np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf, np.float32))
        best.rows[:, : order.shape[1]] = np.take_along_axis(rows, order, axis=1)
        best.scores[:, : order.shape[1]] = np.take_along_axis(scores, order, axis=1)
        best.rows[best.scores == -np.inf] = -1
        return best

    def _scores(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        scores = np.full(rows.shape, -np.inf, np.float32)
        for column in range(rows.shape[1]):  # one at a time: all found vectors at once may not fit into memory
            known = rows[:, column] >= 0
            q, c = queries[known], self.candidates[rows[known, column]]
            if self.similarity == "l2":
                scores[known, column] = -np.einsum("nd,nd->n", q - c, q - c)
            else:
                scores[known, column] = np.einsum("nd,nd->n", q, c)
        return scores
