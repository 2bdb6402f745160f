"""Candidate retrieval: exact top-k, ranks over the whole corpus, and the metrics of a ranking."""

from typing import TYPE_CHECKING

from kerasrec.public_names import public_names
from kerasrec.retrieval.lists import Lists
from kerasrec.retrieval.ranking import TopK, target_ranks, target_ranks_of, top_k, top_k_of
from kerasrec.retrieval.report import RankingReport
from kerasrec.retrieval.scores import FunctionScores, VectorScores

if TYPE_CHECKING:
    from kerasrec.retrieval import baselines

__all__ = [
    "FunctionScores",
    "Lists",
    "RankingReport",
    "TopK",
    "VectorScores",
    "baselines",
    "target_ranks",
    "target_ranks_of",
    "top_k",
    "top_k_of",
]

__getattr__, __dir__ = public_names(__name__, __all__, {"baselines": "kerasrec.retrieval.baselines"})
