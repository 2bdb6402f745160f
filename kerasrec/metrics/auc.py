"""`AUC`: the exact area under the ROC curve, without thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from kerasrec.metrics.estimates import auc_of_ranges, auc_of_rows
from kerasrec.metrics.on_backend import sum_dtype, value_of
from kerasrec.metrics.over_ranks import auc_over_ranks
from kerasrec.metrics.rows import RowMetric
from kerasrec.metrics.score_ranges import ScoreRanges, add_rows
from kerasrec.metrics.sorted_scores import SortedScores
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class AUC(RowMetric):
    """Computes the area under the ROC curve of a binary target: exactly, without thresholds.

    That is the share of pairs of a positive and a negative row in which the positive has the higher score, where
    equal scores count half and a pair counts as the product of its weights: scikit-learn's `roc_auc_score`.
    `keras.metrics.AUC` counts rows between 200 thresholds in [0, 1], so rows whose scores differ by less tie.

    Scores may be any numbers, probabilities or logits, in any range: only their order matters.

    - **In `history`, from `evaluate`, and from `result()` in your own code, the value is exact.** While an epoch
      runs, progress bars show an estimate, from at most 32,768 rows: Keras asks for a value in every step.
    - **Memory is bounded.** Up to `capacity` rows are kept as they are. Beyond that each distinct score is counted
      once; only where there are more than `capacity / 4` of them, neighbouring scores are put together. The result
      is then within `error_bound()` of the exact AUC: below 1e-6 on 10M rows, whatever their scores and order are.
      Summarising sorts the rows within a step, once for each `capacity` rows; a larger capacity avoids that.
    - **NaN means undefined**: there are no rows, or one class alone. A NaN prediction, a label other than 0 and 1
      or a negative weight makes the value NaN with a warning; rows of weight 0 do not count.
    - **Over ranks** (`kr.models`, `kr.parallel.Model`) it is the AUC of all ranks' rows.

    Where steps run eagerly (PyTorch, `run_eagerly=True`), `kr.models` and `kr.parallel.Model` show estimates too,
    but a plain `keras.Model` asks for the exact value in every step, which sorts all rows so far.

    Args:
        name: in `history`.
        dtype: "float64" keeps scores in float64; by default scores are compared as float32.
        capacity: rows that are kept before they are summarised; 14 bytes each, 59 MB by default.

    `update_state` takes labels, scores and weights of shape `(batch,)` or `(batch, 1)`, of any dtypes.

    Raises:
        ValueError: (in `update_state`) shapes that are not one value per row.

    Example:

    >>> metric = kr.metrics.AUC()
    >>> metric.update_state([0, 1, 0, 1], [0.1, 0.8, 0.4, 0.4])
    >>> float(metric.result())
    0.875

    Source: [Hanley and McNeil, 1982](https://doi.org/10.1148/radiology.143.1.7063747): AUC is the Mann-Whitney
    statistic.
    """

    def __init__(self, name: str = "auc", dtype: str | None = None, capacity: int = 2**22):
        super().__init__(name, dtype, capacity)
        ranges, sums = (max(capacity // 4, 1),), sum_dtype()
        self._ranges = ScoreRanges(
            self.add_variable(ranges, "zeros", self.score_dtype, name="low"),
            self.add_variable(ranges, "zeros", self.score_dtype, name="high"),
            self.add_variable(ranges, "zeros", sums, name="positives"),
            self.add_variable(ranges, "zeros", sums, name="negatives"),
            self.add_variable((), "zeros", "int32", name="ranges"),
            self.add_variable((), "zeros", sums, name="surplus"),
            self.add_variable((), "zeros", sums, name="lost_pairs"),
        )

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        self.add(self.scores_and_weights(y_true, y_pred, sample_weight))

    def reset_state(self) -> None:
        super().reset_state()
        for variable in (self._ranges.count, self._ranges.surplus, self._ranges.lost_pairs):
            variable.assign(0)

    def make_room(self, rows: Tensor) -> None:
        """Summarise the rows so far as ranges of scores where the next ones would not fit."""

        def summarised() -> list[Tensor]:
            scores, weights = (value_of(column) for column in self._columns)
            ranges = add_rows(self._range_values(), scores, weights, value_of(self._fill))
            estimate = ops.cast(auc_of_ranges(*ranges[2:4]), "float32")
            return [
                *ranges,
                ops.zeros_like(self._fill.value),
                ops.full_like(self._renew_at.value, 2**31 - 1),
                estimate,
            ]

        def as_it_was() -> list[Tensor]:
            return [*self._range_values(), self._fill.value, self._renew_at.value, self._estimate.value]

        values = ops.cond(self._fill.value + rows > self.capacity, summarised, as_it_was)
        variables = [*self._ranges, self._fill, self._renew_at, self._estimate]
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def _range_values(self) -> ScoreRanges:
        return ScoreRanges(*(value_of(variable) for variable in self._ranges))

    # ---- values ----------------------------------------------------------------------------------------------
    def sample_value(self, columns: Sequence[Tensor]) -> Tensor:
        return auc_of_rows(*columns)

    def value(self) -> float:
        return self._summary().merge(self._recent()).auc()

    def value_over_ranks(self) -> float:
        return auc_over_ranks(self._summary().merge(self._recent()), f"kerasrec.metrics.{self.name}")

    def error_bound(self) -> float:
        """Return how far `result()` may be from the exact AUC of this rank's rows."""
        summary, recent = self._summary(), self._recent()
        lost = float(self._ranges.lost_pairs.value) + summary.undecided(recent)
        every = summary.merge(recent)
        return lost / 2 / float(every.positives.sum() * every.negatives.sum()) if lost else 0.0

    def _summary(self) -> SortedScores:
        """Return this rank's rows that are summarised."""
        count = int(self._ranges.count.value)
        low, high, positives, negatives = (
            np.asarray(ops.convert_to_numpy(variable.value[:count])) for variable in self._ranges[:4]
        )
        return SortedScores(low, high, positives, negatives, float(self._ranges.surplus.value))

    def _recent(self) -> SortedScores:
        """Return this rank's rows since then, by score."""
        return SortedScores.of_rows(*self.rows())
