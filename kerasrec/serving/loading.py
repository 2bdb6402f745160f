"""Load what `kr.serving.export` wrote, to be called."""

from __future__ import annotations

import os
from pathlib import Path

from kerasrec.serving.rows import EXTRA
from kerasrec.serving.served_index import INDEX, ServedIndex
from kerasrec.serving.served_model import ServedModel
from kerasrec.serving.served_recommender import RECOMMENDER, ServedRecommender


def load(
    path: str | os.PathLike[str], signature: str = "serving_default"
) -> ServedModel | ServedIndex | ServedRecommender:
    """Load a SavedModel that `export` wrote, to be called with raw rows or arrays; without Keras.

    Args:
        path: its folder.
        signature: of a model: "serving_default" takes raw columns, "transformed" features.

    Returns:
        A `ServedModel`; of an index a `ServedIndex`, and of a recommender a `ServedRecommender`.

    Raises:
        FileNotFoundError: there is no SavedModel at `path`.
        ValueError: it has no such signature, or TensorFlow would take `path` for a pattern.

    Example:

    >>> kr.serving.load("served/").predict([{"user": "ann", "genres": ["drama"]}])
    {'clicked': array([[0.2861]], dtype=float32)}
    """
    if (Path(path) / EXTRA / INDEX).exists():
        return ServedIndex(path)
    if (Path(path) / EXTRA / RECOMMENDER).exists():
        return ServedRecommender(path)
    return ServedModel(path, signature)
