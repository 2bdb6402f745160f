"""PopularitySampler: draws items in proportion to a power of how often each occurs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
import polars as pl
from keras import ops

from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class PopularitySampler:
    """Draws items with probabilities in proportion to `counts ** power`, as negatives of a loss.

    Popular items are then negatives more often than others: better ones than items that nobody would choose. With
    a power of 0 all items that occur are drawn alike, with 1 as often as they occur.

    Args:
        counts: how often each id occurs: `workflow.vocabulary(table)`, or one number per id, from id 0 on. An item
            that never occurs is never drawn.
        power: of the counts.

    Raises:
        ValueError: a count that is negative or not a number; a `power` below 0. When it draws: there are more or
            fewer ids than counts, or all counts are 0.

    Example:

    >>> sampler = kr.losses.PopularitySampler(workflow.vocabulary("item"), power=0.75)  # doctest: +SKIP
    >>> model.compile(loss=kr.losses.GBCE(256, sampler=sampler))  # doctest: +SKIP

    Source: the power 3/4: Mikolov et al., "Distributed Representations of Words and Phrases and their
    Compositionality", https://arxiv.org/abs/1310.4546; drawing in constant time: Walker, "An Efficient Method for
    Generating Discrete Random Variables with General Distributions", ACM TOMS 1977,
    https://doi.org/10.1145/355744.355749
    """

    def __init__(self, counts: Sequence[float] | np.ndarray | pl.Series | pl.DataFrame, power: float = 0.75):
        if isinstance(counts, pl.DataFrame):
            ids = counts["id"].to_numpy()
            by_id = np.zeros(ids.max(initial=-1) + 1)
            by_id[ids] = counts["count"].to_numpy()
            counts = by_id
        self.counts = np.asarray(counts, np.float64)
        if self.counts.ndim != 1 or not np.isfinite(self.counts).all() or (self.counts < 0).any():
            raise ValueError("counts must be a list of numbers >= 0, one per id, or workflow.vocabulary(table)")
        if not power >= 0:
            raise ValueError(f"power must be >= 0; got {power!r}")
        self.power = float(power)
        self._tables: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def shares(self, first_id: int) -> np.ndarray:
        """Return the probability of each id from the first one of an item on, float64."""
        counts = self.counts[first_id:]
        weights = np.where(counts > 0, counts, 1) ** self.power * (counts > 0)
        if not weights.any():
            raise ValueError(f"counts of the ids from {first_id} on are all 0: there is nothing to draw")
        return weights / weights.sum()

    def draw(self, shape: tuple[Any, ...], first_id: int, count: int, seed: keras.random.SeedGenerator) -> Tensor:
        """Return ids in [first_id, count), int32, in a tensor of this shape."""
        if len(self.counts) != count:
            raise ValueError(
                f"PopularitySampler has counts of {len(self.counts):,} ids, but there are {count:,}; pass one "
                "number per id, from id 0 on, or the workflow.vocabulary(table) of the items"
            )
        if first_id not in self._tables:
            self._tables[first_id] = self.tables(first_id)
        kept, others = self._tables[first_id]
        place = keras.random.randint(shape, 0, len(kept), dtype="int32", seed=seed)
        stays = keras.random.uniform(shape, seed=seed) < ops.take(kept, place, axis=0)
        return ops.where(stays, place, ops.take(others, place, axis=0)) + first_id

    def log_ratio(self, ids: Tensor, first_id: int) -> Tensor:
        """Return `log(N p)` of ids that were drawn: by how much more often than of N uniform ones, float32."""
        shares = self.shares(first_id)
        logs = np.log(np.where(shares > 0, shares, 1) * len(shares)).astype("float32")
        return ops.take(logs, ids - first_id, axis=0)

    def tables(self, first_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Return Walker's tables: how probably a uniform draw stays, and what it is otherwise."""
        rest = self.shares(first_id) * (len(self.counts) - first_id)
        kept, others = np.ones(len(rest)), np.arange(len(rest), dtype="int32")
        few, many = np.flatnonzero(rest < 1).tolist(), np.flatnonzero(rest >= 1).tolist()
        while few and many:
            small, large = few.pop(), many[-1]
            kept[small], others[small] = rest[small], large
            rest[large] -= 1 - rest[small]
            if rest[large] < 1:
                few.append(many.pop())
        return kept.astype("float32"), others

    def get_config(self) -> dict[str, Any]:
        return {"counts": self.counts.tolist(), "power": self.power}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**config)
