"""ItemKNN: recommends the items most similar to those of the history."""

from __future__ import annotations

import itertools

import numpy as np

from kerasrec.retrieval.baselines.base import Baseline
from kerasrec.retrieval.baselines.histories import sparse

BLOCK = 1024  # items whose similarities to all others are computed at a time


class ItemKNN(Baseline):
    """Score an item by the sum of its cosine similarities to the items of the history.

    With the columns x_i of the (users, items) matrix of 0 and 1,

        s_ij = x_i . x_j / (|x_i| |x_j| + shrink),    score_ui = sum of s_ij over the j that u had,

    where s_ij counts only if i is one of the `neighbors` items most similar to j (Sarwar et al., 2001,
    https://doi.org/10.1145/371920.372071; Deshpande and Karypis, 2004, https://doi.org/10.1145/963770.963776).

    Args:
        neighbors: the number of similar items per item; None for all.
        shrink: makes similarities that rest on few users smaller.

    Raises:
        ValueError: a number is out of range.

    Example:

    >>> kr.retrieval.baselines.ItemKNN(neighbors=100).fit("train/").rank("test/")
    """

    def __init__(self, neighbors: int | None = 100, shrink: float = 0.0):
        if (neighbors is not None and neighbors < 1) or shrink < 0:
            raise ValueError(f"ItemKNN takes neighbors >= 1 or None, and shrink >= 0; got {neighbors}, {shrink}")
        self.neighbors, self.shrink = neighbors, shrink

    def fit_matrix(self, users: sparse.csr_matrix) -> None:
        columns = users.tocsc()
        norms = np.sqrt(np.diff(columns.indptr)).astype(np.float32)
        blocks = [sparse.csr_matrix((0, self.items), dtype=np.float32)]
        for start in range(0, self.items, BLOCK):
            similarity = (columns[:, start : start + BLOCK].T @ users).tocsr()  # so far, how many users had both
            item = start + np.repeat(np.arange(similarity.shape[0]), np.diff(similarity.indptr))
            other = similarity.indices
            similarity.data /= norms[item] * norms[other] + np.float32(self.shrink)
            similarity.data[item == other] = 0
            self._keep_nearest(similarity)
            blocks.append(similarity)
        self.similarities = sparse.vstack(blocks, format="csr")

    def _keep_nearest(self, similarity: sparse.csr_matrix) -> None:
        """Remove all but the greatest similarities of each row."""
        most = self.neighbors or self.items
        for start, end in itertools.pairwise(similarity.indptr):
            if end - start > most:
                row = similarity.data[start:end]
                row[np.argpartition(-row, most - 1)[most:]] = 0
        similarity.eliminate_zeros()

    def scores(self, users: sparse.csr_matrix) -> np.ndarray:
        return (users @ self.similarities).toarray()
