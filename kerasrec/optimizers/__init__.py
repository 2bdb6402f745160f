"""Optimizers whose step costs as much as the rows that a batch looks up, however many rows a table has."""

from kerasrec.optimizers.adagrad import Adagrad
from kerasrec.optimizers.adam import Adam, AdamW
from kerasrec.optimizers.by_name import get
from kerasrec.optimizers.ftrl import Ftrl
from kerasrec.optimizers.loss_scale import LossScaleOptimizer
from kerasrec.optimizers.multi import Multi
from kerasrec.optimizers.rowwise_adagrad import RowwiseAdagrad
from kerasrec.optimizers.sgd import SGD
from kerasrec.public_names import public_names

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Ftrl", "LossScaleOptimizer", "Multi", "RowwiseAdagrad", "get"]

__getattr__, __dir__ = public_names(__name__, __all__)
