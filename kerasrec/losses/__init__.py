"""Losses that compare the item which belongs to a query with other items, on any Keras backend."""

from kerasrec.losses.in_batch import InBatchLoss, InBatchSoftmax
from kerasrec.losses.item_vectors import CandidateLoss, ItemVectors
from kerasrec.public_names import public_names

__all__ = [
    "CandidateLoss",
    "InBatchLoss",
    "InBatchSoftmax",
    "ItemVectors",
]

__getattr__, __dir__ = public_names(__name__, __all__)
