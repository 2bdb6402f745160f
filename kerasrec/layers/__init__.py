"""Keras layers for recommender models, on any Keras backend."""

from kerasrec.layers.dot_interaction import DotInteraction
from kerasrec.layers.embedding import DistributedEmbedding
from kerasrec.layers.factorization_machine import FactorizationMachine
from kerasrec.layers.feature_cross import FeatureCross
from kerasrec.layers.inputs import ContinuousInputs
from kerasrec.layers.mlp import MLP
from kerasrec.public_names import public_names

__all__ = [
    "MLP",
    "ContinuousInputs",
    "DistributedEmbedding",
    "DotInteraction",
    "FactorizationMachine",
    "FeatureCross",
]

__getattr__, __dir__ = public_names(__name__, __all__)
