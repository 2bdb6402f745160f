"""Optimizers whose step costs what the batch touches, however many rows a table has."""

from kerasrec.optimizers.adagrad import Adagrad

__all__ = ["Adagrad"]
