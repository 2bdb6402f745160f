"""Keras metrics of rankings and of predicted probabilities, exact over batches and ranks, on any Keras backend."""

from kerasrec.metrics.auc import AUC
from kerasrec.metrics.group_auc import GroupAUC, GroupCounts
from kerasrec.metrics.probabilities import Calibration, LogLoss, NormalizedEntropy
from kerasrec.metrics.reliability import Reliability, reliability
from kerasrec.public_names import public_names

__all__ = [
    "AUC",
    "Calibration",
    "GroupAUC",
    "GroupCounts",
    "LogLoss",
    "NormalizedEntropy",
    "Reliability",
    "reliability",
]

__getattr__, __dir__ = public_names(__name__, __all__)
