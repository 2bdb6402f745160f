"""A SavedModel of a recommender: written by `export`, and loaded to recommend."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasrec.serving.recommend import Recommend
from kerasrec.serving.rows import EXTRA
from kerasrec.serving.served_model import ServedSignature, load_module

if TYPE_CHECKING:
    import numpy as np

    from kerasrec.data.open import Data

RECOMMENDER = "recommender.json"  # beside the schema of requests


class ServedRecommender:
    """A SavedModel of a `kr.serving.Recommender`: recommends items for raw rows, without Keras.

    Any process with TensorFlow can call the same signature, `serving_default`: raw columns of requests, `k` (1,)
    int32, and the list column `exclude` of raw item ids to leave out (`exclude__values`, `exclude__offsets`), to
    `ids` (batch, k) and `scores` (batch, k). Where a request has fewer items, an id is -1 or "", and its score
    -inf. Where a raw column is named `k` or `exclude`, these inputs are `k_2` and `exclude_2`.

    Args:
        path: a folder that `kr.serving.export` wrote for a recommender.

    Raises:
        FileNotFoundError: there is no SavedModel of a recommender at `path`.

    Example:

    >>> served = kr.serving.load("recommender/")
    >>> served.recommend([{"user": "ann"}], k=2, exclude=[["Heat"]])
    {'ids': array([['Alien', 'Fargo']], dtype=object), 'scores': array([[0.31, 0.22]], dtype=float32)}
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        module = load_module(path)
        file = self.path / EXTRA / RECOMMENDER
        if not file.exists():
            raise FileNotFoundError(
                f"{path} is not a SavedModel of a recommender: it has no {EXTRA}/{RECOMMENDER}"
            )
        names = json.loads(file.read_text(encoding="utf-8"))
        self._recommend = Recommend(ServedSignature(module, path, "serving_default"), self.path, names)

    @property
    def inputs(self) -> dict[str, str]:
        """The dtype of each input of `serving_default` by name; all have the shape (n,)."""
        return self._recommend.signature.inputs

    def __repr__(self) -> str:
        return (
            f"ServedRecommender({str(self.path)!r}) of {', '.join(f'{n} ({d})' for n, d in self.inputs.items())}"
        )

    def recommend(
        self, data: Data, k: int = 10, *, exclude: Sequence[Iterable[Any]] | None = None
    ) -> dict[str, np.ndarray]:
        """Return the best items of each raw row, as `Recommender.recommend` does."""
        return self._recommend(data, k, exclude)
