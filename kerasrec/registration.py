"""Let Keras load files with classes of this package whose modules are not imported yet.

Keras finds a class of another package only by the name under which it was registered, and a class registers
itself when its module is imported, which `import kerasrec` alone does not do: that would import a framework.
So, as soon as Keras is imported, each name stands for a `Deferred`, which imports the class when a file first
asks for it. (The class then takes its place under that name.)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = "kerasrec"
MODULES = {
    "layers.interactions.bi_interaction": ("BiInteraction",),
    "layers.interactions.bilinear_interaction": ("BilinearInteraction",),
    "layers.interactions.compressed_interaction": ("CompressedInteraction",),
    "layers.interactions.field_weighted_pairs": ("FieldWeightedPairs",),
    "layers.interactions.feature_self_attention": ("FeatureSelfAttention",),
    "layers.interactions.dot_interaction": ("DotInteraction",),
    "layers.embedding.distributed_embedding": ("DistributedEmbedding",),
    "layers.interactions.factorization_machine": ("FactorizationMachine",),
    "layers.interactions.feature_cross": ("FeatureCross",),
    "layers.experts.cgc": ("CGC",),
    "layers.experts.expert_mixture": ("ExpertMixture",),
    "layers.experts.parallel_mlp": ("ParallelMLP",),
    "layers.interactions.gated_cross": ("GatedCross",),
    "layers.interactions.squeeze_excitation": ("SqueezeExcitation",),
    "layers.interactions.bilinear_fusion": ("BilinearFusion",),
    "layers.interactions.feature_selection": ("FeatureSelection",),
    "layers.interactions.mask_block": ("MaskBlock",),
    "layers.interactions.cross_mixture": ("CrossMixture",),
    "layers.crossed_ids": ("CrossedIds",),
    "layers.inputs": ("ContinuousInputs",),
    "layers.mlp": ("MLP",),
    "layers.scaled_vectors": ("ScaledVectors",),
    "layers.schema_inputs": ("ListIds",),
    "models.multitask.esmm": ("ESMM",),
    "models.multitask.mmoe": ("MMoE",),
    "models.multitask.ple": ("PLE",),
    "models.multitask.shared_bottom": ("SharedBottom",),
    "layers.sequence.augru": ("AUGRU",),
    "layers.sequence.dice": ("Dice",),
    "layers.sequence.interest_evolution": ("InterestEvolution",),
    "layers.sequence.next_behaviour_loss": ("NextBehaviourLoss",),
    "layers.sequence.position_embedding": ("PositionEmbedding",),
    "layers.sequence.target_attention": ("TargetAttention",),
    "layers.sequence.transformer_block": ("TransformerBlock",),
    "losses.full_softmax": ("FullSoftmax",),
    "losses.gbce": ("GBCE",),
    "losses.in_batch": ("InBatch", "InBatchSoftmax"),
    "losses.popularity": ("PopularitySampler",),
    "losses.sampled": ("BPR", "CosineContrastive", "Hinge"),
    "losses.sampled_softmax": ("SampledSoftmax",),
    "metrics.auc": ("AUC",),
    "metrics.group_auc": ("GroupAUC",),
    "metrics.probabilities": ("Calibration", "LogLoss", "NormalizedEntropy"),
    "models.next_item.bert4rec": ("BERT4Rec",),
    "models.next_item.gru4rec": ("GRU4Rec",),
    "models.next_item.hstu": ("HSTU",),
    "models.next_item.sasrec": ("SASRec",),
    "models.ranking.dcn": ("DCN",),
    "models.ranking.deepfm": ("DeepFM",),
    "models.ranking.dlrm": ("DLRM",),
    "models.ranking.fm": ("FM",),
    "models.ranking.nfm": ("NFM",),
    "models.ranking.pnn": ("PNN",),
    "models.ranking.xdeepfm": ("xDeepFM",),
    "models.ranking.fwfm": ("FwFM",),
    "models.ranking.autoint": ("AutoInt",),
    "models.ranking.lr": ("LR",),
    "models.ranking.fibinet": ("FiBiNET",),
    "models.ranking.final_mlp": ("FinalMLP",),
    "models.ranking.gdcn": ("GDCN",),
    "models.ranking.masknet": ("MaskNet",),
    "models.crossed_columns": ("CrossedColumns",),
    "models.first_order": ("FirstOrder",),
    "models.ranking.wide_and_deep": ("WideAndDeep",),
    "models.retrieval.matrix_factorization": ("MatrixFactorization",),
    "models.retrieval.neumf": ("NeuMF",),
    "models.retrieval.two_tower": ("TwoTower",),
    "models.retrieval.youtube_dnn": ("YoutubeDNN",),
    "models.sequence.bst": ("BST",),
    "models.sequence.dien": ("DIEN",),
    "models.sequence.din": ("DIN",),
    "optimizers.adagrad": ("Adagrad",),
    "optimizers.adam": ("Adam", "AdamW"),
    "optimizers.ftrl": ("Ftrl",),
    "optimizers.loss_scale": ("LossScaleOptimizer",),
    "optimizers.multi": ("Multi",),
    "optimizers.rowwise_adagrad": ("RowwiseAdagrad",),
    "optimizers.sgd": ("SGD",),
    "parallel.fit.model": ("FunctionalModel",),
}


class Deferred:
    """Stands for a class until its module is imported; Keras asks a registered class for `from_config` alone."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name

    def from_config(self, config: dict[str, Any]) -> Any:
        return getattr(import_module(self.module), self.name).from_config(config)


def register_with_keras() -> None:
    """Register the classes now if Keras is imported, else as soon as it is."""
    if "keras" in sys.modules:
        _register(sys.modules["keras"])
    elif not any(isinstance(finder, _WhenKerasIsImported) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WhenKerasIsImported())


def _register(keras: ModuleType) -> None:
    registered = keras.saving.get_custom_objects()
    for module, names in MODULES.items():
        for name in names:
            registered.setdefault(f"{PACKAGE}>{name}", Deferred(f"{PACKAGE}.{module}", name))


class _WhenKerasIsImported(MetaPathFinder, Loader):
    """Has Keras loaded as it would have been, then registers the classes, and leaves `sys.meta_path`."""

    loader: Any = None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "keras":
            return None
        for finder in (other for other in sys.meta_path if other is not self):
            if (spec := finder.find_spec(fullname, path, target)) is not None:
                self.loader, spec.loader = spec.loader, self
                return spec
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.loader
        assert module.__spec__ is not None
        module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        _register(module)
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]
