"""`RankMetric`: the base of metrics whose state is more than sums over rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import keras

from kerasrec.typing import Tensor


class RankMetric(keras.metrics.Metric):
    """A metric whose state cannot be added up over ranks, and whose exact value is too dear for every step.

    A subclass defines `update_state` and four values. `result()` returns the one that is asked for: the exact
    value, but the estimate within a step of training or evaluation, and that of all ranks' rows where `results_of`
    says so. Keras shows the estimate while an epoch runs; `history` and `evaluate` have the exact value.
    """

    _in_step = False
    _over_ranks = False

    @abstractmethod
    def exact(self) -> Tensor:
        """Return the value for all rows of this rank, a scalar. Not for use in a traced function."""

    @abstractmethod
    def estimate(self) -> Tensor:
        """Return a scalar near the exact value at hardly any cost; NaN where nothing is known yet."""

    @abstractmethod
    def exact_over_ranks(self) -> Tensor:
        """Return the value for all rows of all ranks; every rank must call it."""

    @abstractmethod
    def estimate_over_ranks(self) -> Tensor:
        """Return the ranks' common estimate; every rank must call it."""

    @abstractmethod
    def is_traced(self) -> bool:
        """Return whether a function is being traced, where values are not known."""

    def result(self) -> Tensor:
        if self._in_step or self.is_traced():
            return self.estimate_over_ranks() if self._over_ranks else self.estimate()
        return self.exact_over_ranks() if self._over_ranks else self.exact()

    @contextmanager
    def results_of(self, *, step: bool = False, ranks: bool = False) -> Iterator[None]:
        """Have `result()` return estimates of a step, or values of all ranks' rows, within the context."""
        before = self._in_step, self._over_ranks
        self._in_step, self._over_ranks = step or before[0], ranks or before[1]
        try:
            yield
        finally:
            self._in_step, self._over_ranks = before


def single_metrics(metrics: Iterable[keras.metrics.Metric]) -> Iterator[keras.metrics.Metric]:
    """Yield the metrics themselves: those given to `compile` are together in one."""
    for metric in metrics:
        yield from getattr(metric, "metrics", None) or [metric]


def rank_metrics(metrics: Iterable[keras.metrics.Metric]) -> list[RankMetric]:
    """Return those of a model's metrics whose states cannot be added up."""
    return [metric for metric in single_metrics(metrics) if isinstance(metric, RankMetric)]
