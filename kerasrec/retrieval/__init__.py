"""Candidate retrieval: exact top-k, ranks over the whole corpus, and the metrics of a ranking.

`Index` holds the candidates of a model; it imports Keras when it is first used, the others need NumPy alone.
"""

from typing import TYPE_CHECKING

from kerasrec.public_names import public_names
from kerasrec.retrieval.lists import Lists
from kerasrec.retrieval.ranking import TopK, target_ranks, target_ranks_of, top_k, top_k_of
from kerasrec.retrieval.report import RankingReport
from kerasrec.retrieval.scores import FunctionScores, VectorScores

if TYPE_CHECKING:
    from kerasrec.retrieval import baselines
    from kerasrec.retrieval.encoders import Retriever
    from kerasrec.retrieval.index import Index, Recommendations

__all__ = [
    "FunctionScores",
    "Index",
    "Lists",
    "RankingReport",
    "Recommendations",
    "Retriever",
    "TopK",
    "VectorScores",
    "baselines",
    "target_ranks",
    "target_ranks_of",
    "top_k",
    "top_k_of",
]

_HOME = {
    "Index": "kerasrec.retrieval.index",
    "Recommendations": "kerasrec.retrieval.index",
    "Retriever": "kerasrec.retrieval.encoders",
    "baselines": "kerasrec.retrieval.baselines",
}
__getattr__, __dir__ = public_names(__name__, __all__, _HOME)
