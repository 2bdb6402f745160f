"""SampledSoftmax: the cross-entropy of a query's item among some that are drawn at random."""

from __future__ import annotations

import keras
from keras import ops

from kerasrec.losses.many_negatives import ManyNegatives
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class SampledSoftmax(ManyNegatives):
    """Computes the cross-entropy of each query's item among items that are drawn at random.

    With the score `s_i` of the own item and `s_j` of `negatives` items, drawn uniformly:
    `log(exp(s_i) + sum_j exp(s_j)) - s_i`. It costs as much for a table of any size, where `FullSoftmax` costs in
    proportion to the items.

    Args:
        negatives: how many items are drawn per example. One that is the example's own does not count.
        shared: whether they are drawn once per batch, for all of its examples: much faster where there are more
            than some ten thousand items. Draw more of them then, such as 2,048.

    Raises:
        ValueError: `negatives` below 1.

    Example:

    >>> model.compile(loss=kr.losses.SampledSoftmax(256))  # doctest: +SKIP

    Source: Jean et al., "On Using Very Large Target Vocabulary for Neural Machine Translation",
    https://arxiv.org/abs/1412.2007, with uniform draws; in next-item models: Tikhonovich et al., "eSASRec",
    https://arxiv.org/abs/2508.06450
    """

    def compare(self, positives: Tensor, negatives: Tensor, is_negative: Tensor) -> Tensor:
        others = ops.where(is_negative, negatives, ops.cast(-1e30, negatives.dtype))
        return ops.logsumexp(ops.concatenate([positives[:, None], others], axis=1), axis=1) - positives
