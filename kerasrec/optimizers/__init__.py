"""Optimizers whose step costs what the batch touches, however many rows a table has."""

from kerasrec.optimizers.adagrad import Adagrad
from kerasrec.optimizers.adam import Adam, AdamW
from kerasrec.optimizers.ftrl import Ftrl
from kerasrec.optimizers.loss_scale import LossScaleOptimizer
from kerasrec.optimizers.multi import Multi
from kerasrec.optimizers.rowwise_adagrad import RowwiseAdagrad
from kerasrec.optimizers.sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Ftrl", "LossScaleOptimizer", "Multi", "RowwiseAdagrad"]
