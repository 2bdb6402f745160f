"""What a loss over items needs of a model: the items' vectors, wherever they come from."""

from __future__ import annotations

from typing import Any, Protocol, Self

import keras
from keras import ops

from kerasrec.typing import Tensor


class ItemVectors(Protocol):
    """The vectors of all items: rows of a table, or what a tower makes of the items' features.

    Attributes:
        count: the number of ids, which are in [0, count).
        first_id: the first id of an item; those below stand for padding, nulls and values out of vocabulary. They
            are never sampled and never ranked.
    """

    @property
    def count(self) -> int: ...

    @property
    def first_id(self) -> int: ...

    def lookup(self, ids: Tensor) -> Tensor:
        """Return the vectors of ids `(n,)`, `(n, dim)`; gradients reach the items."""

    def all(self) -> Tensor:
        """Return the vectors of all ids in order, `(count, dim)`; gradients reach the items."""


class CandidateLoss:
    """The base of losses that compare a query's item with other items, by id.

    A subclass defines `per_example`, and `get_config` if it has arguments. The models that take such losses in
    `compile(loss=...)` average it over their examples: pairs of a query and an item, or positions of sequences.
    """

    def per_example(
        self, queries: Tensor, positives: Tensor, items: ItemVectors, seed: keras.random.SeedGenerator
    ) -> Tensor:
        """Return the loss of each example, `(n,)` float32.

        Args:
            queries: `(n, dim)`.
            positives: the id of each query's item, `(n,)` integers.
            items: the vectors of all items.
            seed: of what is drawn at random.
        """
        raise NotImplementedError

    def weighted_sum(
        self,
        queries: Tensor,
        positives: Tensor,
        items: ItemVectors,
        seed: keras.random.SeedGenerator,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return `sum_i weights_i per_example_i`, a scalar; the weights `(n,)` are constants, by default 1.

        A subclass may compute it faster than by `per_example`. Example i does not count where its weight is 0.
        """
        losses = self.per_example(queries, positives, items, seed)
        if weights is None:
            return ops.sum(losses)
        weights = ops.cast(weights, losses.dtype)
        # An example that does not count may have no finite loss, as the query of an empty row.
        return ops.sum(ops.where(weights != 0, losses * weights, ops.zeros_like(losses)))

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**config)
