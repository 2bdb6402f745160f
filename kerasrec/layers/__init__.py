"""Keras layers for recommender models; every one but `DistributedEmbedding`'s sparse update runs on any backend."""

from kerasrec.layers.dot_interaction import DotInteraction
from kerasrec.layers.embedding import DistributedEmbedding
from kerasrec.layers.factorization_machine import FactorizationMachine
from kerasrec.layers.feature_cross import FeatureCross
from kerasrec.layers.mlp import MLP

__all__ = ["MLP", "DistributedEmbedding", "DotInteraction", "FactorizationMachine", "FeatureCross"]
