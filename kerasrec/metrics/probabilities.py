"""Metrics of predicted probabilities that are ratios of sums: log loss, normalized entropy, calibration."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec.metrics.rows import flat_rows
from kerasrec.metrics.sums import RunningSum
from kerasrec.typing import Tensor

EPSILON = 2.0**-23  # float32's, as scikit-learn clips float32 probabilities


class ProbabilityMetric(keras.metrics.Metric):
    """Adds up log loss, weights, labels and probabilities over rows.

    `update_state` takes labels in [0, 1], probabilities and weights of shape `(batch,)` or `(batch, 1)`. Sums lose
    no digits over 100M rows. A probability that is NaN or outside [0, 1] makes the value NaN; rows of weight 0 do
    not count.
    """

    def __init__(self, name: str, dtype: str | None = None):
        super().__init__(name=name, dtype=dtype)
        self._loss, self._weight, self._positives, self._predicted = (
            RunningSum(self, part) for part in ("loss", "weight", "positives", "predicted")
        )

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        labels, p, weights = flat_rows(self.name, y_true, y_pred, sample_weight, "float32")
        p = ops.where(ops.logical_and(p >= 0, p <= 1), p, float("nan"))
        # NaN stays NaN through clip: the comparisons of maximum and minimum keep it.
        clipped = ops.clip(p, EPSILON, 1 - EPSILON)
        loss = -(labels * ops.log(clipped) + (1 - labels) * ops.log1p(-clipped))
        counts = weights != 0
        for total, values in (
            (self._loss, loss),
            (self._weight, ops.ones_like(p)),
            (self._positives, labels),
            (self._predicted, p),
        ):
            total.add(ops.sum(ops.where(counts, weights * values, 0.0)))

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}


@keras.saving.register_keras_serializable("kerasrec")
class LogLoss(ProbabilityMetric):
    """Computes the mean of -log(predicted probability of the label), in nats.

    Probabilities are clipped to [2^-23, 1 - 2^-23], as scikit-learn's `log_loss` clips float32. NaN without rows.
    Over ranks it is that of all rows.

    Args:
        name: in `history`.

    Example:

    >>> metric = kr.metrics.LogLoss()
    >>> metric.update_state([0, 1], [0.25, 0.75])
    >>> round(float(metric.result()), 6)
    0.287682
    """

    def __init__(self, name: str = "logloss", dtype: str | None = None):
        super().__init__(name, dtype)

    def result(self) -> Tensor:
        return self._loss.value / self._weight.value


@keras.saving.register_keras_serializable("kerasrec")
class NormalizedEntropy(ProbabilityMetric):
    """Computes the log loss over that of always predicting the rate of positives: below 1 is better than the rate.

    Unlike log loss it can be compared between data sets of different rates. NaN where there is one class alone.

    Args:
        name: in `history`.

    Example:

    >>> metric = kr.metrics.NormalizedEntropy()
    >>> metric.update_state([0, 1], [0.25, 0.75])
    >>> round(float(metric.result()), 6)
    0.415037

    Source: [He et al., 2014, Practical Lessons from Predicting Clicks on Ads at
    Facebook](https://doi.org/10.1145/2648584.2648589), equation 1.
    """

    def __init__(self, name: str = "normalized_entropy", dtype: str | None = None):
        super().__init__(name, dtype)

    def result(self) -> Tensor:
        rate = self._positives.value / self._weight.value
        entropy = -(rate * ops.log(rate) + (1 - rate) * ops.log1p(-rate))
        return self._loss.value / self._weight.value / entropy


@keras.saving.register_keras_serializable("kerasrec")
class Calibration(ProbabilityMetric):
    """Computes the sum of predicted probabilities over the sum of labels: 1 is calibrated, above 1 is too many.

    NaN where there is no positive. `kr.metrics.reliability` shows where a model is off.

    Args:
        name: in `history`.

    Example:

    >>> metric = kr.metrics.Calibration()
    >>> metric.update_state([0, 1], [0.25, 0.5])
    >>> float(metric.result())
    0.75

    Source: He et al., 2014, as in `NormalizedEntropy`.
    """

    def __init__(self, name: str = "calibration", dtype: str | None = None):
        super().__init__(name, dtype)

    def result(self) -> Tensor:
        positives = self._positives.value
        return ops.where(positives > 0, self._predicted.value / positives, float("nan"))
