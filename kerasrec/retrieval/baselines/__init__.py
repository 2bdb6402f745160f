"""Baselines that every table of recommenders shows: popularity, item-kNN, EASE, implicit ALS. They need SciPy."""

from kerasrec.public_names import public_names
from kerasrec.retrieval.baselines.base import Baseline
from kerasrec.retrieval.baselines.ease import EASE
from kerasrec.retrieval.baselines.histories import Histories
from kerasrec.retrieval.baselines.implicit_als import ImplicitALS
from kerasrec.retrieval.baselines.item_knn import ItemKNN
from kerasrec.retrieval.baselines.popularity import Popularity

__all__ = ["EASE", "Baseline", "Histories", "ImplicitALS", "ItemKNN", "Popularity"]

__getattr__, __dir__ = public_names(__name__, __all__)
