"""The figures by which a target's predictions are judged."""

from __future__ import annotations

from numpy.typing import ArrayLike

from kerasrec.datasets import metrics


def score(
    task: str, labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None
) -> dict[str, float]:
    """Return AUC and log loss of probabilities, or RMSE of numbers, by name: "auc" and "logloss", or "rmse".

    Args:
        task: "binary" or "regression".
        labels, predictions: equally many, any shape.
        weights: of the rows; by default equal ones.
    """
    if task == "regression":
        return {"rmse": metrics.rmse(labels, predictions, weights)}
    return {
        "auc": metrics.auc(labels, predictions, weights),
        "logloss": metrics.log_loss(labels, predictions, weights=weights),
    }
