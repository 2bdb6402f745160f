"""`Baseline`: what the baselines have in common."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Self

import numpy as np

from kerasrec.retrieval.baselines.histories import Histories, sparse
from kerasrec.retrieval.encoders import Rows
from kerasrec.retrieval.ranking import ranking_of, top_k_of
from kerasrec.retrieval.report import RankingReport, cutoffs
from kerasrec.retrieval.scores import FunctionScores
from kerasrec.retrieval.selection import TopK


class Baseline:
    """The base of recommenders that score all items for a user by the items that she had.

    A subclass defines `fit_matrix` and `scores`. What a user had is a row of 0 and 1: how often and in which
    order do not count. So users whose histories come later, or have grown, are scored with no new fit.
    """

    items: int = -1  # before fit

    def fit(self, data: Rows | Histories) -> Self:
        """Learn from rows of users; return `self`.

        Args:
            data: a `kr.Loader` or what it takes, with a list column of the tags ITEM_ID and SEQUENCE, as
                `etl.Sequences` and a workflow make it; or `Histories`.

        Raises:
            SchemaError: there is no such column, or there are several.
            ValueError: there are no rows, or no items.
        """
        histories = Histories.read(data)
        if not histories.items or not len(histories.lists):
            raise ValueError(
                f"{len(histories.lists)} rows of {histories.items} items: there is nothing to learn from"
            )
        self.items = histories.items
        self.fit_matrix(histories.matrix())
        return self

    def fit_matrix(self, users: sparse.csr_matrix) -> None:
        """Learn from a sparse (users, items) matrix of 0 and 1."""
        raise NotImplementedError

    def scores(self, users: sparse.csr_matrix) -> np.ndarray:
        """Return the scores (users, items) of all items, given a sparse (users, items) matrix of 0 and 1."""
        raise NotImplementedError

    def recommend(self, data: Rows | Histories, k: int = 10, *, exclude_seen: bool = True) -> TopK:
        """Return the best items of each user, given all of her history.

        Returns:
            `rows` (users, k): item ids, as they are in `data`; -1 where there are fewer than k.
        """
        histories = self._read(data)
        top = top_k_of(self._scores(histories), k, exclude=histories.lists if exclude_seen else None)
        return TopK(np.where(top.rows < 0, -1, top.rows + histories.first_id), top.scores)

    def rank(
        self, data: Rows | Histories, at: int | Sequence[int] = (10, 100), *, exclude_seen: bool = True
    ) -> RankingReport:
        """Return the metrics of ranking each row's last item among all items, given those before it.

        Args:
            data: as for `fit`; rows to validate or test on. One without items is not averaged.
            at: the k of the metrics.
            exclude_seen: whether the items of the history are left out of the ranking, other than the target.
        """
        histories, targets = self._read(data).split_last()
        seen, cuts = histories.lists if exclude_seen else None, cutoffs(at)
        ranking = ranking_of(self._scores(histories), targets, cuts, exclude=seen)
        return RankingReport.of_ranking(ranking, targets, self.items, cuts, exclude_seen)

    def __repr__(self) -> str:
        arguments = inspect.signature(type(self)).parameters
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in arguments)})"

    def _read(self, data: Rows | Histories) -> Histories:
        if self.items < 0:
            raise RuntimeError(f"{type(self).__name__} is not fitted; call fit(data) first")
        histories = Histories.read(data)
        if histories.items != self.items:
            raise ValueError(f"the data has {histories.items} items, but fit had {self.items}")
        return histories

    def _scores(self, histories: Histories) -> FunctionScores:
        users = histories.matrix()
        return FunctionScores(lambda start, stop: self.scores(users[start:stop]), users.shape[0], self.items)
