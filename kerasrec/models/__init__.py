"""Models that build themselves from a schema: `Model(schema)` is called on the loader's dict of features."""

from kerasrec.models.base import SchemaModel
from kerasrec.models.multitask.esmm import ESMM
from kerasrec.models.multitask.mmoe import MMoE
from kerasrec.models.multitask.ple import PLE
from kerasrec.models.multitask.shared_bottom import SharedBottom
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
from kerasrec.models.registry import by_name
from kerasrec.models.retrieval.base import RetrievalModel
from kerasrec.models.retrieval.matrix_factorization import MatrixFactorization
from kerasrec.models.retrieval.neumf import NeuMF
from kerasrec.models.retrieval.two_tower import TwoTower
from kerasrec.models.retrieval.youtube_dnn import YoutubeDNN
from kerasrec.models.sequence.bst import BST
from kerasrec.models.sequence.dien import DIEN
from kerasrec.models.sequence.din import DIN
from kerasrec.public_names import public_names

__all__ = [
    "BST",
    "DCN",
    "DIEN",
    "DIN",
    "DLRM",
    "ESMM",
    "FM",
    "GDCN",
    "HSTU",
    "LR",
    "NFM",
    "PLE",
    "PNN",
    "AutoInt",
    "BERT4Rec",
    "DeepFM",
    "FiBiNET",
    "FinalMLP",
    "FwFM",
    "GRU4Rec",
    "MMoE",
    "MaskNet",
    "MatrixFactorization",
    "NeuMF",
    "RetrievalModel",
    "SASRec",
    "SchemaModel",
    "SharedBottom",
    "TwoTower",
    "WideAndDeep",
    "YoutubeDNN",
    "by_name",
    "xDeepFM",
]

__getattr__, __dir__ = public_names(__name__, __all__)
