"""Candidate retrieval: exact top-k, ranks over the whole corpus, and the metrics of a ranking.

`Index` holds the candidates of a model; it imports Keras when it is first used, the others need NumPy alone.
"""

from typing import TYPE_CHECKING

from kerasrec.public_names import public_names
from kerasrec.retrieval.lists import Lists
from kerasrec.retrieval.ranking import target_ranks, target_ranks_of, top_k, top_k_of
from kerasrec.retrieval.report import RankingReport
from kerasrec.retrieval.scores import FunctionScores, VectorScores
from kerasrec.retrieval.selection import TopK

if TYPE_CHECKING:
    from kerasrec.retrieval import baselines
    from kerasrec.retrieval.encoders import Retriever
    from kerasrec.retrieval.engines.faiss_index import Faiss
    from kerasrec.retrieval.engines.tfrs_layer import TFRS
    from kerasrec.retrieval.engines.usearch_index import USearch
    from kerasrec.retrieval.index import Index, Recommendations

__all__ = [
    "TFRS",
    "Faiss",
    "FunctionScores",
    "Index",
    "Lists",
    "RankingReport",
    "Recommendations",
    "Retriever",
    "TopK",
    "USearch",
    "VectorScores",
    "baselines",
    "target_ranks",
    "target_ranks_of",
    "top_k",
    "top_k_of",
]

_HOME = {
    "Faiss": "kerasrec.retrieval.engines.faiss_index",
    "Index": "kerasrec.retrieval.index",
    "Recommendations": "kerasrec.retrieval.index",
    "Retriever": "kerasrec.retrieval.encoders",
    "TFRS": "kerasrec.retrieval.engines.tfrs_layer",
    "USearch": "kerasrec.retrieval.engines.usearch_index",
    "baselines": "kerasrec.retrieval.baselines",
}
__getattr__, __dir__ = public_names(__name__, __all__, _HOME)
