"""Popularity: recommends to everybody what most users had."""

from __future__ import annotations

import numpy as np

from kerasrec.retrieval.baselines.base import Baseline
from kerasrec.retrieval.baselines.histories import sparse


class Popularity(Baseline):
    """Score an item by the number of users who had it, the same for everybody.

    Example:

    >>> kr.retrieval.baselines.Popularity().fit("train/").rank("test/")
    """

    def fit_matrix(self, users: sparse.csr_matrix) -> None:
        self.counts = np.asarray(users.sum(axis=0), np.float32).ravel()

    def scores(self, users: sparse.csr_matrix) -> np.ndarray:
        return np.tile(self.counts, (users.shape[0], 1))
