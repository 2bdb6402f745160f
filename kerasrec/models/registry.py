"""What a model is built of: a class, a function of the schema, or a name."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import keras

from kerasrec.models.base import SchemaModel
from kerasrec.models.multitask.esmm import ESMM
from kerasrec.models.multitask.mmoe import MMoE
from kerasrec.models.multitask.ple import PLE
from kerasrec.models.multitask.shared_bottom import SharedBottom
from kerasrec.models.next_item.base import NextItemModel
from kerasrec.models.next_item.bert4rec import BERT4Rec
from kerasrec.models.next_item.gru4rec import GRU4Rec
from kerasrec.models.next_item.hstu import HSTU
from kerasrec.models.next_item.sasrec import SASRec
from kerasrec.models.ranking.autoint import AutoInt
from kerasrec.models.ranking.dcn import DCN
from kerasrec.models.ranking.deepfm import DeepFM
from kerasrec.models.ranking.dlrm import DLRM
from kerasrec.models.ranking.fibinet import FiBiNET
from kerasrec.models.ranking.final_mlp import FinalMLP
from kerasrec.models.ranking.fm import FM
from kerasrec.models.ranking.fwfm import FwFM
from kerasrec.models.ranking.gdcn import GDCN
from kerasrec.models.ranking.lr import LR
from kerasrec.models.ranking.masknet import MaskNet
from kerasrec.models.ranking.nfm import NFM
from kerasrec.models.ranking.pnn import PNN
from kerasrec.models.ranking.wide_and_deep import WideAndDeep
from kerasrec.models.ranking.xdeepfm import xDeepFM
from kerasrec.models.retrieval.base import RetrievalModel
from kerasrec.models.retrieval.matrix_factorization import MatrixFactorization
from kerasrec.models.retrieval.neumf import NeuMF
from kerasrec.models.retrieval.two_tower import TwoTower
from kerasrec.models.retrieval.youtube_dnn import YoutubeDNN
from kerasrec.models.sequence.bst import BST
from kerasrec.models.sequence.dien import DIEN
from kerasrec.models.sequence.din import DIN
from kerasrec.schema import Schema

MakeModel: TypeAlias = Callable[[Schema], keras.Model]

RANKING: dict[str, type[SchemaModel]] = {
    "lr": LR,
    "fm": FM,
    "fwfm": FwFM,
    "wide-and-deep": WideAndDeep,
    "deepfm": DeepFM,
    "nfm": NFM,
    "pnn": PNN,
    "dcn": DCN,
    "dlrm": DLRM,
    "xdeepfm": xDeepFM,
    "autoint": AutoInt,
    "fibinet": FiBiNET,
    "masknet": MaskNet,
    "finalmlp": FinalMLP,
    "gdcn": GDCN,
}
SEQUENCE: dict[str, type[SchemaModel]] = {
    "din": DIN,
    "dien": DIEN,
    "bst": BST,
}
MULTITASK: dict[str, type[SchemaModel]] = {
    "shared-bottom": SharedBottom,
    "mmoe": MMoE,
    "ple": PLE,
    "esmm": ESMM,
}
PAIRS: dict[str, type[SchemaModel]] = {
    "neumf": NeuMF,
}
RETRIEVAL: dict[str, type[RetrievalModel]] = {
    "two-tower": TwoTower,
    "matrix-factorization": MatrixFactorization,
    "youtube-dnn": YoutubeDNN,
}
NEXT_ITEM: dict[str, type[NextItemModel]] = {
    "sasrec": SASRec,
    "gru4rec": GRU4Rec,
    "bert4rec": BERT4Rec,
    "hstu": HSTU,
}
BY_NAME: dict[str, type[keras.Model]] = {
    **RANKING,
    **SEQUENCE,
    **MULTITASK,
    **PAIRS,
    **RETRIEVAL,
    **NEXT_ITEM,
}


def by_name(name: str) -> type[keras.Model]:
    """Return the class of a model.

    Args:
        name: a key of `BY_NAME`, such as "dlrm" or "wide-and-deep", where case, hyphens and underscores do not
            matter; or "module:Class" for a class of yours, of a module that may be a file in the current folder.

    Raises:
        ValueError: there is no such model, or the module has no class of that name.

    Example:

    >>> kr.models.by_name("wide-and-deep") is kr.models.WideAndDeep
    True
    """
    if ":" in name:
        return _imported(*name.split(":", 1))
    plain = {_plain(known): cls for known, cls in BY_NAME.items()}
    if _plain(name) not in plain:
        close = difflib.get_close_matches(name.lower(), BY_NAME, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"no model {name!r}; available: {', '.join(BY_NAME)}, or 'module:Class'{hint}")
    return plain[_plain(name)]


def make_model(model: str | MakeModel) -> MakeModel:
    """Return a function that makes a model of a schema.

    Args:
        model: such a function, a class of `kr.models`, or a name as `by_name` takes it.

    Raises:
        ValueError: an unknown name.
        TypeError: none of these.
    """
    if isinstance(model, str):
        return by_name(model)
    if not callable(model):
        raise TypeError(
            "model must be a class of kr.models, a function of the schema, a name such as 'dlrm', or a built "
            f"model; got {type(model).__name__}"
        )
    return model


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def add_current_folder() -> None:
    """Let modules be imported from the current folder, which console scripts leave out."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def _imported(module: str, class_name: str) -> Any:
    add_current_folder()
    try:
        found = getattr(importlib.import_module(module), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"cannot import {module}:{class_name}: {error}") from error
    if not inspect.isclass(found):
        raise ValueError(f"{module}:{class_name} is not a class")
    return found
