"""Losses that compare the item which belongs to a query with other items, on any Keras backend."""

from kerasrec.losses.full_softmax import FullSoftmax
from kerasrec.losses.gbce import GBCE
from kerasrec.losses.in_batch import InBatch, InBatchLoss, InBatchSoftmax
from kerasrec.losses.item_vectors import CandidateLoss, ItemVectors
from kerasrec.losses.popularity import PopularitySampler
from kerasrec.losses.sampled import BPR, CosineContrastive, Hinge, SampledLoss
from kerasrec.losses.sampled_softmax import SampledSoftmax
from kerasrec.public_names import public_names

__all__ = [
    "BPR",
    "GBCE",
    "CandidateLoss",
    "CosineContrastive",
    "FullSoftmax",
    "Hinge",
    "InBatch",
    "InBatchLoss",
    "InBatchSoftmax",
    "ItemVectors",
    "PopularitySampler",
    "SampledLoss",
    "SampledSoftmax",
]

__getattr__, __dir__ = public_names(__name__, __all__)
