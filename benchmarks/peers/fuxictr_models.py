"""FuxiCTR's models by name, for `fuxictr_worker.py`.

FuxiCTR's wheel has layers, the training loop and loaders; most models are in the `model_zoo` of its repository,
each a class that puts the layers together. A model is the zoo's own class if the zoo lies at `.venv-
fuxictr/model_zoo` (see setup.sh), and otherwise the same put together here from the wheel's layers, with the
zoo's arguments and names of weights. AutoInt, MaskNet, GDCN, BST and the models of several targets have layers
of their own in the zoo, so they need it. DIN and DIEN are the wheel's, from its models of long histories.
"""

import copy
import importlib.util
import sys
from pathlib import Path

import torch
from fuxictr.pytorch.layers import (
    BilinearInteractionV2,
    CompressedInteractionNet,
    CrossNetMix,
    CrossNetV2,
    FactorizationMachine,
    FeatureEmbedding,
    InnerProductInteraction,
    LogisticRegression,
    MLP_Block,
    SqueezeExcitation,
)
from fuxictr.pytorch.models import BaseModel
from model_zoo.LongCTR.DIEN.DIEN import DIEN
from model_zoo.LongCTR.DIN.DIN import DIN
from model_zoo.LongCTR.FinalMLP.FinalMLP import FeatureSelection, InteractionAggregation
from torch import nn

ZOO = Path(__file__).parent / ".venv-fuxictr/model_zoo"


def from_zoo(name):
    """The class of a model in the zoo, or None."""
    folder = {"GDCNP": "GDCN"}.get(name, name)
    paths = [
        ZOO / f"{parent}/src/{folder}.py" for parent in (folder, f"{folder}/{folder}_torch", f"multitask/{folder}")
    ]
    path = next((path for path in paths if path.exists()), None)
    if path is None or name in LONG:
        return None
    spec = importlib.util.spec_from_file_location(f"zoo_{folder}", path)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def model_class(name):
    """The class of a model: the zoo's, the wheel's or the one here; None if there is none of them."""
    assembled = {cls.__name__: cls for cls in Assembled.__subclasses__()}
    return from_zoo(name) or LONG.get(name) or assembled.get(name)


class OneHistory:
    """Gives the wheel's models of long histories what their loader would: `item` after `history`, and a mask."""

    def __init__(self, feature_map, **arguments):
        feature_map = copy.deepcopy(feature_map)
        feature_map.features["history"]["type"] = "meta"
        feature_map.features["item"]["source"] = "item"
        super().__init__(feature_map, **arguments)

    def forward(self, inputs):
        columns = dict(inputs)
        history, item = columns.pop("history"), columns.pop("item")
        items = torch.cat([history, item.unsqueeze(1)], 1)
        return super().forward((columns, {"item": items.flatten()}, history != 0))


LONG = {cls.__name__: type(cls.__name__, (OneHistory, cls), {}) for cls in (DIN, DIEN)}


def source(name):
    """Say where the class of a model is from: "zoo", "wheel" or "layers"; None if there is none."""
    if from_zoo(name):
        return "zoo"
    return "wheel" if name in LONG else "layers" if model_class(name) else None


def tower(width, units, **kwargs):
    return MLP_Block(width, list(units), **kwargs)


class Assembled(BaseModel):
    """A model of `logit`, a function of the columns and their vectors `(batch, fields, embedding_dim)`."""

    def __init__(
        self, feature_map, embedding_dim=10, learning_rate=1e-3, gpu=-1, optimizer="adam", loss=None, **arguments
    ):
        own = {key: arguments.pop(key) for key in ("verbose", "metrics", "model_root", "task")}
        super().__init__(feature_map, gpu=gpu, **own)
        if type(self).vectors:
            self.embedding_layer = FeatureEmbedding(feature_map, embedding_dim)
        self.make(feature_map.num_fields, embedding_dim, **arguments)
        self.compile(optimizer, loss, learning_rate)
        self.reset_parameters()
        self.model_to_device()

    vectors = True

    def forward(self, inputs):
        columns = self.get_inputs(inputs)
        vectors = self.embedding_layer(columns) if type(self).vectors else None
        return {"y_pred": self.output_activation(self.logit(columns, vectors))}


class LR(Assembled):
    vectors = False

    def make(self, fields, dim):
        self.lr_layer = LogisticRegression(self.feature_map, use_bias=True)

    def logit(self, columns, vectors):
        return self.lr_layer(columns)


class FM(Assembled):
    def make(self, fields, dim):
        self.fm = FactorizationMachine(self.feature_map)

    def logit(self, columns, vectors):
        return self.fm(columns, vectors)


class FwFM(Assembled):
    """With `linear_type="FiLV"`: a linear map of all vectors in the place of the first order."""

    def make(self, fields, dim):
        self.interaction_weight = nn.Linear(fields * (fields - 1) // 2, 1)
        self.inner_product_layer = InnerProductInteraction(fields, output="inner_product")
        self.linear_weight_layer = nn.Linear(fields * dim, 1, bias=False)

    def logit(self, columns, vectors):
        linear = self.linear_weight_layer(vectors.flatten(1))
        return linear + self.interaction_weight(self.inner_product_layer(vectors))


class NFM(Assembled):
    def make(self, fields, dim, hidden_units):
        self.lr_layer = LogisticRegression(self.feature_map, use_bias=False)
        self.bi_pooling_layer = InnerProductInteraction(fields, output="bi_interaction")
        self.dnn = tower(dim, hidden_units, output_dim=1)

    def logit(self, columns, vectors):
        return self.lr_layer(columns) + self.dnn(self.bi_pooling_layer(vectors))


class PNN(Assembled):
    def make(self, fields, dim, hidden_units):
        self.inner_product_layer = InnerProductInteraction(fields, output="inner_product")
        self.dnn = tower(fields * dim + fields * (fields - 1) // 2, hidden_units, output_dim=1)

    def logit(self, columns, vectors):
        return self.dnn(torch.cat([vectors.flatten(1), self.inner_product_layer(vectors)], 1))


class DeepFM(Assembled):
    def make(self, fields, dim, hidden_units):
        self.fm = FactorizationMachine(self.feature_map)
        self.mlp = tower(fields * dim, hidden_units, output_dim=1)

    def logit(self, columns, vectors):
        return self.fm(columns, vectors) + self.mlp(vectors.flatten(1))


class WideDeep(Assembled):
    def make(self, fields, dim, hidden_units):
        self.lr_layer = LogisticRegression(self.feature_map, use_bias=False)
        self.dnn = tower(fields * dim, hidden_units, output_dim=1)

    def logit(self, columns, vectors):
        return self.lr_layer(columns) + self.dnn(vectors.flatten(1))


class xDeepFM(Assembled):
    def make(self, fields, dim, dnn_hidden_units, cin_hidden_units):
        self.lr_layer = LogisticRegression(self.feature_map, use_bias=False)
        self.dnn = tower(fields * dim, dnn_hidden_units, output_dim=1)
        self.cin = CompressedInteractionNet(fields, cin_hidden_units, output_dim=1)

    def logit(self, columns, vectors):
        return self.lr_layer(columns) + self.cin(vectors) + self.dnn(vectors.flatten(1))


class DCNv2(Assembled):
    """With a full matrix or a mixture of low-rank experts; the tower is in parallel or stacked on the crosses."""

    def make(
        self, fields, dim, num_cross_layers=3, parallel_dnn_hidden_units=(), stacked_dnn_hidden_units=(),
        model_structure="parallel", use_low_rank_mixture=False, low_rank=32, num_experts=4,
    ):  # fmt: skip
        width = fields * dim
        self.crossnet = (
            CrossNetMix(width, num_cross_layers, low_rank, num_experts)
            if use_low_rank_mixture
            else CrossNetV2(width, num_cross_layers)
        )
        self.parallel = model_structure == "parallel"
        if self.parallel:
            self.parallel_dnn = tower(width, parallel_dnn_hidden_units)
            self.fc = nn.Linear(width + parallel_dnn_hidden_units[-1], 1)
        else:
            self.stacked_dnn = tower(width, stacked_dnn_hidden_units)
            self.fc = nn.Linear(stacked_dnn_hidden_units[-1], 1)

    def logit(self, columns, vectors):
        x = vectors.flatten(1)
        crossed = self.crossnet(x)
        return self.fc(
            torch.cat([crossed, self.parallel_dnn(x)], 1) if self.parallel else self.stacked_dnn(crossed)
        )


class FiBiNET(Assembled):
    def make(self, fields, dim, hidden_units, reduction_ratio=3, bilinear_type="field_interaction"):
        self.senet_layer = SqueezeExcitation(fields, reduction_ratio)
        self.bilinear_interaction1 = BilinearInteractionV2(fields, dim, bilinear_type)
        self.bilinear_interaction2 = BilinearInteractionV2(fields, dim, bilinear_type)
        self.lr_layer = LogisticRegression(self.feature_map, use_bias=False)
        self.dnn = tower(fields * (fields - 1) * dim, hidden_units, output_dim=1)

    def logit(self, columns, vectors):
        pairs = [self.bilinear_interaction1(vectors), self.bilinear_interaction2(self.senet_layer(vectors))]
        return self.lr_layer(columns) + self.dnn(torch.cat(pairs, 1).flatten(1))


class FinalMLP(Assembled):
    def make(
        self, fields, dim, mlp1_hidden_units, mlp2_hidden_units, use_fs=True, fs_hidden_units=(64,),
        fs1_context=(), fs2_context=(), num_heads=1,
    ):  # fmt: skip
        self.mlp1, self.mlp2 = tower(fields * dim, mlp1_hidden_units), tower(fields * dim, mlp2_hidden_units)
        self.use_fs = use_fs
        if use_fs:
            self.fs_module = FeatureSelection(
                self.feature_map, fields * dim, dim, list(fs_hidden_units), list(fs1_context), list(fs2_context)
            )
        self.fusion_module = InteractionAggregation(
            mlp1_hidden_units[-1], mlp2_hidden_units[-1], output_dim=1, num_heads=num_heads
        )

    def logit(self, columns, vectors):
        x = vectors.flatten(1)
        first, second = self.fs_module(columns, x) if self.use_fs else (x, x)
        return self.fusion_module(self.mlp1(first), self.mlp2(second))


class DLRM(Assembled):
    """The continuous columns' tower comes last among the vectors, and in front of the top tower again."""

    vectors = False

    def make(self, fields, dim, bottom_mlp_units, top_mlp_units):
        self.dense_feats = [name for name, spec in self.feature_map.features.items() if spec["type"] == "numeric"]
        self.embedding_layer = FeatureEmbedding(
            self.feature_map, dim, not_required_feature_columns=self.dense_feats
        )
        count, width = fields - len(self.dense_feats), 0
        if self.dense_feats:
            self.bottom_mlp = tower(
                len(self.dense_feats), bottom_mlp_units, output_dim=dim, output_activation="ReLU"
            )
            count, width = count + 1, dim
        self.interact = InnerProductInteraction(count, output="inner_product")
        self.top_mlp = tower(count * (count - 1) // 2 + width, top_mlp_units, output_dim=1)

    def logit(self, columns, vectors):
        vectors = self.embedding_layer(columns)
        if not self.dense_feats:
            return self.top_mlp(self.interact(vectors))
        dense = self.bottom_mlp(torch.cat([columns[name].float().view(-1, 1) for name in self.dense_feats], -1))
        pairs = self.interact(torch.cat([vectors, dense.unsqueeze(1)], 1))
        return self.top_mlp(torch.cat([pairs, dense], -1))
