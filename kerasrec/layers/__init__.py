"""Keras layers for recommender models, on any Keras backend."""

from kerasrec.layers.embedding.distributed_embedding import DistributedEmbedding
from kerasrec.layers.experts.cgc import CGC
from kerasrec.layers.experts.expert_mixture import ExpertMixture
from kerasrec.layers.experts.parallel_mlp import ParallelMLP
from kerasrec.layers.inputs import ContinuousInputs
from kerasrec.layers.interactions.bi_interaction import BiInteraction
from kerasrec.layers.interactions.dot_interaction import DotInteraction
from kerasrec.layers.interactions.factorization_machine import FactorizationMachine
from kerasrec.layers.interactions.feature_cross import FeatureCross
from kerasrec.layers.mlp import MLP
from kerasrec.layers.scaled_vectors import ScaledVectors
from kerasrec.public_names import public_names

__all__ = [
    "CGC",
    "MLP",
    "BiInteraction",
    "ContinuousInputs",
    "DistributedEmbedding",
    "DotInteraction",
    "ExpertMixture",
    "FactorizationMachine",
    "FeatureCross",
    "ParallelMLP",
    "ScaledVectors",
]

__getattr__, __dir__ = public_names(__name__, __all__)
