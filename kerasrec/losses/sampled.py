"""Losses that compare a query's item with items drawn at random."""

from __future__ import annotations

from typing import Any, Self

import keras
from keras import ops

from kerasrec.losses.item_vectors import CandidateLoss, ItemVectors
from kerasrec.losses.popularity import PopularitySampler
from kerasrec.typing import Tensor


class SampledLoss(CandidateLoss):
    """The base of losses that compare a query's item with some that are drawn for it.

    A subclass defines `compare`. `InBatch(loss)` compares in the same way with the other candidates of the batch.

    Args:
        negatives: how many items are drawn per example. One that happens to be the example's own does not count.
        sampler: draws them in proportion to a power of their counts; None draws uniformly from all items.

    Raises:
        ValueError: `negatives` below 1.
        TypeError: another sampler.
    """

    def __init__(self, negatives: int = 1, sampler: PopularitySampler | None = None):
        if int(negatives) != negatives or negatives < 1:
            raise ValueError(f"negatives must be an integer >= 1; got {negatives!r}")
        if sampler is not None and not isinstance(sampler, PopularitySampler):
            raise TypeError(f"sampler must be a kr.losses.PopularitySampler, or None; got {sampler!r}")
        self.negatives, self.sampler = int(negatives), sampler

    def compare(self, positives: Tensor, negatives: Tensor, is_negative: Tensor) -> Tensor:
        """Return the loss of each example, `(n,)`.

        Args:
            positives: the score of each example's own item, `(n,)`.
            negatives: the scores of others, `(n, m)`.
            is_negative: which of these count, `(n, m)` bool.
        """
        raise NotImplementedError

    def draw(self, positives: Tensor, first_id: int, count: int, seed: keras.random.SeedGenerator) -> Tensor:
        """Return ids in [first_id, count) for examples whose items are `positives`, `(n, negatives)`."""
        return self.draw_ids((ops.shape(positives)[0], self.negatives), first_id, count, seed)

    def draw_ids(
        self, shape: tuple[Any, ...], first_id: int, count: int, seed: keras.random.SeedGenerator
    ) -> Tensor:
        """Return ids in [first_id, count) in a tensor of this shape."""
        if self.sampler is not None:
            return self.sampler.draw(shape, first_id, count, seed)
        return keras.random.randint(shape, first_id, count, dtype="int32", seed=seed)

    def adjust(self, scores: Tensor, ids: Tensor, first_id: int) -> Tensor:
        """Return the scores of drawn items as the loss compares them; the ids broadcast to their shape."""
        return scores

    def per_example(
        self, queries: Tensor, positives: Tensor, items: ItemVectors, seed: keras.random.SeedGenerator
    ) -> Tensor:
        return self.compare(*self.scores(queries, positives, items, seed))

    def scores(
        self, queries: Tensor, positives: Tensor, items: ItemVectors, seed: keras.random.SeedGenerator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `compare` takes for items that are drawn now."""
        queries, positives = ops.cast(queries, "float32"), ops.cast(positives, "int32")
        ids = self.draw(positives, items.first_id, items.count, seed)
        all_ids = ops.concatenate([positives[:, None], ids], axis=1)
        vectors = ops.cast(items.lookup(ops.reshape(all_ids, (-1,))), "float32")
        vectors = ops.reshape(vectors, (-1, 1 + self.negatives, vectors.shape[-1]))
        scores = ops.einsum("nkd,nd->nk", vectors, queries)
        return scores[:, 0], self.adjust(scores[:, 1:], ids, items.first_id), ids != positives[:, None]

    def get_config(self) -> dict[str, Any]:
        sampler = None if self.sampler is None else keras.saving.serialize_keras_object(self.sampler)
        return {"negatives": self.negatives, "sampler": sampler}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        sampler = config.get("sampler")
        return cls(**{**config, "sampler": sampler and keras.saving.deserialize_keras_object(sampler)})


def mean_of(losses: Tensor, counts: Tensor) -> Tensor:
    """Return the mean over the last axis of those losses that count, 0 where none does."""
    counts = ops.cast(counts, "float32")
    return ops.divide_no_nan(ops.sum(losses * counts, axis=-1), ops.sum(counts, axis=-1))


@keras.saving.register_keras_serializable("kerasrec")
class BPR(SampledLoss):
    """Ranks an item above others: the mean over negatives j of `-log sigmoid(s_i - s_j)`.

    Args:
        negatives, sampler: how many items are drawn per example, and how: see `PopularitySampler`.

    Example:

    >>> model.compile(loss=kr.losses.BPR(negatives=4))  # doctest: +SKIP

    Source: Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback",
    https://arxiv.org/abs/1205.2618
    """

    def compare(self, positives: Tensor, negatives: Tensor, is_negative: Tensor) -> Tensor:
        return mean_of(ops.softplus(negatives - positives[:, None]), is_negative)


@keras.saving.register_keras_serializable("kerasrec")
class Hinge(SampledLoss):
    """Ranks an item above others by a margin: the mean over negatives j of `max(0, margin + s_j - s_i)`.

    Args:
        negatives: how many items are drawn per example.
        margin: in units of the scores; with the similarity "l2" those are squared distances.
        sampler: draws by popularity; None draws uniformly.

    Raises:
        ValueError: `margin` is not above 0.

    Source: Weston et al., "WSABIE: Scaling Up To Large Vocabulary Image Annotation", IJCAI 2011; with distances:
    Hsieh et al., "Collaborative Metric Learning", WWW 2017, https://doi.org/10.1145/3038912.3052639 (their
    weights by rank are left out)
    """

    def __init__(self, negatives: int = 1, margin: float = 1.0, sampler: PopularitySampler | None = None):
        super().__init__(negatives, sampler)
        if not margin > 0:
            raise ValueError(f"margin must be above 0; got {margin!r}")
        self.margin = float(margin)

    def compare(self, positives: Tensor, negatives: Tensor, is_negative: Tensor) -> Tensor:
        return mean_of(ops.relu(self.margin + negatives - positives[:, None]), is_negative)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin}


@keras.saving.register_keras_serializable("kerasrec")
class CosineContrastive(SampledLoss):
    """Pulls an item to similarity 1, and others below a margin: `(1 - s_i) + w mean_j max(0, s_j - margin)`.

    It is for models whose similarity is the cosine; the margin keeps negatives that are easy out of the gradient.

    Args:
        negatives: how many items are drawn per example; many, such as 100 or more.
        margin: below it a negative costs nothing, in [0, 1).
        negative_weight: w, how much the negatives count together; the paper uses some hundred.
        sampler: draws by popularity; None draws uniformly.

    Raises:
        ValueError: `margin` outside [0, 1), or `negative_weight` not above 0.

    Source: Mao et al., "SimpleX: A Simple and Strong Baseline for Collaborative Filtering",
    https://arxiv.org/abs/2109.12613
    """

    def __init__(
        self,
        negatives: int = 100,
        margin: float = 0.5,
        negative_weight: float = 150.0,
        sampler: PopularitySampler | None = None,
    ):
        super().__init__(negatives, sampler)
        if not 0 <= margin < 1:
            raise ValueError(f"margin must be in [0, 1); got {margin!r}")
        if not negative_weight > 0:
            raise ValueError(f"negative_weight must be above 0; got {negative_weight!r}")
        self.margin, self.negative_weight = float(margin), float(negative_weight)

    def compare(self, positives: Tensor, negatives: Tensor, is_negative: Tensor) -> Tensor:
        return 1 - positives + self.negative_weight * mean_of(ops.relu(negatives - self.margin), is_negative)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin, "negative_weight": self.negative_weight}
