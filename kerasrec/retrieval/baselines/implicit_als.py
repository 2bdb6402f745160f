"""ImplicitALS: matrix factorisation of what users had and had not, by alternating least squares."""

from __future__ import annotations

import numpy as np

from kerasrec.etl.run.progress import bar
from kerasrec.retrieval.baselines.base import Baseline
from kerasrec.retrieval.baselines.histories import sparse

BLOCK = 256  # systems that are solved at a time


class ImplicitALS(Baseline):
    """Score an item by the product of its vector and the user's.

    With S the pairs of a user and an item that she had, |S_u| and |S_i| their numbers per user and item, the
    vectors w_u and h_i minimise

        sum over S of (w_u . h_i - 1)^2 + unobserved_weight * sum over all pairs of (w_u . h_i)^2
        + l2 * (sum over u of n_u |w_u|^2 + sum over i of n_i |h_i|^2),
        n_u = |S_u| + unobserved_weight * items,    n_i = |S_i| + unobserved_weight * users

    (Hu, Koren and Volinsky, 2008, https://doi.org/10.1109/ICDM.2008.22; penalty scaled by frequency as in Rendle
    et al., 2021, https://arxiv.org/abs/2110.14037). Each step solves one side exactly, given the other. A user's
    vector follows from her history and the items' vectors, so that new users have one too.

    The defaults are Rendle's for MovieLens 1M.

    Args:
        dim: the length of the vectors.
        epochs: the number of passes over users and items.
        l2: the weight of the penalty.
        unobserved_weight: the weight of the pairs that were not observed.
        init_stddev: the items' vectors begin normally distributed, with this standard deviation / sqrt(dim).
        seed: of those.
        progress: whether to show a progress bar on a terminal.

    Raises:
        ValueError: a number is out of range.

    Example:

    >>> kr.retrieval.baselines.ImplicitALS(dim=64).fit("train/").rank("test/")
    """

    def __init__(
        self,
        dim: int = 192,
        epochs: int = 12,
        l2: float = 0.007,
        unobserved_weight: float = 0.3,
        init_stddev: float = 0.1,
        seed: int = 0,
        progress: bool = True,
    ):
        if dim < 1 or epochs < 1 or l2 <= 0 or unobserved_weight <= 0:
            raise ValueError(
                "ImplicitALS takes dim and epochs >= 1, l2 and unobserved_weight > 0; "
                f"got {dim}, {epochs}, {l2} and {unobserved_weight}"
            )
        self.dim, self.epochs, self.l2, self.unobserved_weight = dim, epochs, l2, unobserved_weight
        self.init_stddev, self.seed, self.progress = init_stddev, seed, progress

    def fit_matrix(self, users: sparse.csr_matrix) -> None:
        rng = np.random.default_rng(self.seed)
        self.vectors = rng.normal(0, self.init_stddev / self.dim**0.5, (self.items, self.dim)).astype(np.float32)
        items = users.T.tocsr()
        with bar("ImplicitALS", self.epochs, "epochs", show=self.progress) as advance:
            for _ in range(self.epochs):
                self.vectors = self._solve(items, self._solve(users, self.vectors))
                advance(1)

    def scores(self, users: sparse.csr_matrix) -> np.ndarray:
        return self._solve(users, self.vectors) @ self.vectors.T

    def _solve(self, pairs: sparse.csr_matrix, others: np.ndarray) -> np.ndarray:
        """Return the vectors of the rows of `pairs` that minimise the loss, given those of the columns."""
        solved = np.zeros((pairs.shape[0], self.dim), np.float32)
        shared = self.unobserved_weight * (others.T @ others)
        penalty = self.l2 * (np.diff(pairs.indptr) + self.unobserved_weight * len(others))
        for start in range(0, len(solved), BLOCK):
            rows = range(start, min(start + BLOCK, len(solved)))
            left = np.empty((len(rows), self.dim, self.dim), np.float32)
            right = np.empty((len(rows), self.dim, 1), np.float32)
            for at, row in enumerate(rows):
                vectors = others[pairs.indices[pairs.indptr[row] : pairs.indptr[row + 1]]]
                left[at] = shared + vectors.T @ vectors
                right[at, :, 0] = vectors.sum(axis=0)
            left[:, range(self.dim), range(self.dim)] += penalty[start : start + len(rows), None]
            solved[start : start + len(rows)] = np.linalg.solve(left, right)[:, :, 0]
        return solved
