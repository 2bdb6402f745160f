"""What finds the best candidates: exactly, in NumPy; other engines are in `kerasrec.retrieval.approximate`."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from kerasrec.retrieval.lists import Lists
from kerasrec.retrieval.ranking import TopK, top_k
from kerasrec.retrieval.scores import Similarity


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


def engine_of(index: str | Engine) -> Engine:
    """Return an engine by its name, or itself.

    Raises:
        ValueError: there is none of that name.
        ImportError: its library is not installed.
    """
    if not isinstance(index, str):
        return index
    if index == "exact":
        return Exact()
    raise ValueError(f"no index {index!r}; available: 'exact'")
