"""Keras layers for recommender models, on any Keras backend."""

from kerasrec.layers.crossed_ids import CrossedIds
from kerasrec.layers.embedding.distributed_embedding import DistributedEmbedding
from kerasrec.layers.experts.cgc import CGC
from kerasrec.layers.experts.expert_mixture import ExpertMixture
from kerasrec.layers.experts.parallel_mlp import ParallelMLP
from kerasrec.layers.inputs import ContinuousInputs
from kerasrec.layers.interactions.bi_interaction import BiInteraction
from kerasrec.layers.interactions.bilinear_fusion import BilinearFusion
from kerasrec.layers.interactions.bilinear_interaction import BilinearInteraction
from kerasrec.layers.interactions.compressed_interaction import CompressedInteraction
from kerasrec.layers.interactions.cross_mixture import CrossMixture
from kerasrec.layers.interactions.dot_interaction import DotInteraction
from kerasrec.layers.interactions.factorization_machine import FactorizationMachine
from kerasrec.layers.interactions.feature_cross import FeatureCross
from kerasrec.layers.interactions.feature_selection import FeatureSelection
from kerasrec.layers.interactions.feature_self_attention import FeatureSelfAttention
from kerasrec.layers.interactions.field_weighted_pairs import FieldWeightedPairs
from kerasrec.layers.interactions.gated_cross import GatedCross
from kerasrec.layers.interactions.mask_block import MaskBlock
from kerasrec.layers.interactions.squeeze_excitation import SqueezeExcitation
from kerasrec.layers.mlp import MLP
from kerasrec.layers.scaled_vectors import ScaledVectors
from kerasrec.layers.sequence.augru import AUGRU
from kerasrec.layers.sequence.dice import Dice
from kerasrec.layers.sequence.interest_evolution import InterestEvolution
from kerasrec.layers.sequence.next_behaviour_loss import NextBehaviourLoss
from kerasrec.layers.sequence.position_embedding import PositionEmbedding
from kerasrec.layers.sequence.target_attention import TargetAttention
from kerasrec.layers.sequence.transformer_block import TransformerBlock
from kerasrec.public_names import public_names

__all__ = [
    "AUGRU",
    "CGC",
    "MLP",
    "BiInteraction",
    "BilinearFusion",
    "BilinearInteraction",
    "CompressedInteraction",
    "ContinuousInputs",
    "CrossMixture",
    "CrossedIds",
    "Dice",
    "DistributedEmbedding",
    "DotInteraction",
    "ExpertMixture",
    "FactorizationMachine",
    "FeatureCross",
    "FeatureSelection",
    "FeatureSelfAttention",
    "FieldWeightedPairs",
    "GatedCross",
    "InterestEvolution",
    "MaskBlock",
    "NextBehaviourLoss",
    "ParallelMLP",
    "PositionEmbedding",
    "ScaledVectors",
    "SqueezeExcitation",
    "TargetAttention",
    "TransformerBlock",
]

__getattr__, __dir__ = public_names(__name__, __all__)
