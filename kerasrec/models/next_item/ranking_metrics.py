"""Metrics of ranks by their names, as `compile(metrics=["ndcg@10"])` takes them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import keras
from keras import ops

from kerasrec.typing import Tensor

DEFAULT = ("ndcg@10", "hit_rate@10")
KINDS = ("ndcg", "hit_rate", "mrr")
_NAME = re.compile(rf"({'|'.join(KINDS)})@([1-9][0-9]*)")


class RankingMetric(keras.metrics.Mean):
    """The mean over rows of a function of the rank `r` of a row's item, counted from 0.

    "hit_rate@k" is 1 where `r < k`, which for one item per row is also the recall; "ndcg@k" is `1 / log2(r + 2)`
    there and "mrr@k" `1 / (r + 1)`; all are 0 elsewhere.

    Raises:
        ValueError: another name.
    """

    def __init__(self, name: str):
        super().__init__(name="ranking")  # of its variables, whose names TensorFlow does not take with an "@"
        match = _NAME.fullmatch(name) if isinstance(name, str) else None
        if match is None:
            raise ValueError(
                f"metrics: {name!r} is not a metric of ranks; expected "
                f"{', '.join(f'{kind}@k' for kind in KINDS)} with an integer k, such as 'ndcg@10'"
            )
        self.name, self.kind, self.k = name, match[1], int(match[2])

    def gains(self, ranks: Tensor) -> Tensor:
        """Return the function of ranks `(rows,)`, float32."""
        places = ops.cast(ranks, "float32")
        gains = {
            "hit_rate": ops.ones_like(places),
            "ndcg": math.log(2) / ops.log(places + 2),
            "mrr": 1 / (places + 1),
        }[self.kind]
        return ops.where(ranks < self.k, gains, ops.zeros_like(gains))


class RankingMetrics:
    """The metrics of some names, by default of `DEFAULT`. (A plain object: Keras would track a list.)"""

    def __init__(self, names: Sequence[str] | None):
        if isinstance(names, str):
            raise ValueError(f"metrics must be a list of names; got the string {names!r}")
        self.metrics = tuple(RankingMetric(name) for name in (DEFAULT if names is None else names))
