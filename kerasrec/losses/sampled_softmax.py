"""SampledSoftmax: the cross-entropy of a query's item among some that are drawn at random."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasrec.losses.many_negatives import ManyNegatives
from kerasrec.losses.popularity import PopularitySampler
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class SampledSoftmax(ManyNegatives):
    """Computes the cross-entropy of each query's item among items that are drawn at random.

    With the score `s_i` of the own item and `s_j` of `negatives` items, drawn uniformly:
    `log(exp(s_i) + sum_j exp(s_j)) - s_i`. Drawn from N items with the probabilities `p_j`, an item counts as
    `exp(s_j - log(N p_j))`, so that the sum is the same on average, and more precise where popular items have
    high scores. It costs as much for a table of any size, where `FullSoftmax` costs in
    proportion to the items.

    Args:
        negatives: how many items are drawn per example. One that is the example's own does not count.
        shared: True draws them once per batch, for all of its examples: much faster where there are more than
            some ten thousand items. Draw more of them then, such as 2,048. An integer draws once per so many
            consecutive examples.
        sampler: draws by popularity; None draws uniformly.
        logq_correction: whether `log(N p_j)` is subtracted. Without it popular items are predicted less than they
            occur.

    Raises:
        ValueError: `negatives` below 1.

    Example:

    >>> model.compile(loss=kr.losses.SampledSoftmax(256))  # doctest: +SKIP
    >>> by_count = kr.losses.PopularitySampler(workflow.vocabulary("item"))  # doctest: +SKIP
    >>> model.compile(loss=kr.losses.SampledSoftmax(256, sampler=by_count))  # doctest: +SKIP

    Source: Jean et al., "On Using Very Large Target Vocabulary for Neural Machine Translation",
    https://arxiv.org/abs/1412.2007, with uniform draws; in next-item models: Tikhonovich et al., "eSASRec",
    https://arxiv.org/abs/2508.06450
    """

    def __init__(
        self,
        negatives: int = 256,
        shared: bool | int = False,
        sampler: PopularitySampler | None = None,
        logq_correction: bool = True,
    ):
        super().__init__(negatives, shared, sampler)
        self.logq_correction = bool(logq_correction)

    def adjust(self, scores: Tensor, ids: Tensor, first_id: int) -> Tensor:
        if self.sampler is None or not self.logq_correction:
            return scores
        return scores - self.sampler.log_ratio(ids, first_id)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "logq_correction": self.logq_correction}

    def compare(self, positives: Tensor, negatives: Tensor, is_negative: Tensor) -> Tensor:
        others = ops.where(is_negative, negatives, ops.cast(-1e30, negatives.dtype))
        return ops.logsumexp(ops.concatenate([positives[:, None], others], axis=1), axis=1) - positives
