"""GBCE: binary cross-entropy with drawn negatives, whose positive term makes up for how few were drawn."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import keras
from keras import ops

from kerasrec.losses.many_negatives import Compare, ManyNegatives
from kerasrec.losses.popularity import PopularitySampler
from kerasrec.typing import Tensor


@keras.saving.register_keras_serializable("kerasrec")
class GBCE(ManyNegatives):
    """Computes the generalised binary cross-entropy of each query's item and of items drawn at random.

    Of `N` items `n` are drawn per example, a share `a = n / (N - 1)` of the others. With `sigma` the sigmoid, and
    `x = s + offset` for a score `s`:

        loss = -(beta log sigma(x_i) + sum_j log(1 - sigma(x_j))) / n
        beta = a (t (1 - 1 / a) + 1 / a)

    With `t = 0`, `beta` is 1 and this is binary cross-entropy, which overestimates how probable items are since it
    sees few that are not the own one. With `t = 1`, `beta` is `a`, and the probabilities are calibrated.

    The offset changes no ranking. Without it all scores must fall first to those of a rare event; a model whose
    inputs are the vectors of the same items makes them all alike on that way, and may never rank better than by
    popularity. Gradients are means over `n` too, so give Adam a small epsilon: `Adam(1e-3, epsilon=1e-9)`.

    Args:
        negatives: n, how many items are drawn per example. One that is the example's own does not count.
        t: how far the probabilities are calibrated, in [0, 1].
        shared: True draws the negatives once per batch, for all of its examples; an integer, such as 128, once
            per so many consecutive examples, which is as fast where the batch is large, and reaches more items.
        sampler: draws by popularity; None draws uniformly, as the paper does.
        offset: added to all scores; by default `log(beta / n)`, with which a score of 0 stands for the share of
            positives. The paper has 0.

    Raises:
        ValueError: `negatives` below 1, `t` outside [0, 1], or an offset that is not finite.

    Example:

    >>> model.compile(loss=kr.losses.GBCE(256, t=0.75))  # doctest: +SKIP

    Source: Petrov, Macdonald, "gSASRec: Reducing Overconfidence in Sequential Recommendation Trained with Negative
    Sampling", https://arxiv.org/abs/2308.07192; the offset: the prior of Lin et al., "Focal Loss for Dense Object
    Detection", https://arxiv.org/abs/1708.02002
    """

    def __init__(
        self,
        negatives: int = 256,
        t: float = 0.75,
        shared: bool | int = False,
        sampler: PopularitySampler | None = None,
        offset: float | None = None,
    ):
        super().__init__(negatives, shared, sampler)
        if not 0 <= t <= 1:
            raise ValueError(f"t must be in [0, 1]; got {t!r}")
        if offset is not None and not math.isfinite(offset):
            raise ValueError(f"offset must be a finite number, or None; got {offset!r}")
        self.t, self.offset = float(t), None if offset is None else float(offset)

    def among(self, count: int) -> Compare:
        share = min(self.negatives / max(count - 1, 1), 1.0)
        beta = share * (self.t * (1 - 1 / share) + 1 / share)
        offset = math.log(beta / self.negatives) if self.offset is None else self.offset
        return partial(self._compare, beta=beta, offset=offset)

    def compare(self, positives: Tensor, negatives: Tensor, is_negative: Tensor) -> Tensor:
        raise ValueError(
            "GBCE depends on the share of all items that is drawn, so it cannot compare the candidates of a "
            "batch; use InBatchSoftmax()"
        )

    def _compare(
        self, positives: Tensor, negatives: Tensor, is_negative: Tensor, beta: float, offset: float
    ) -> Tensor:
        counts = ops.cast(is_negative, negatives.dtype)
        of_negatives = ops.sum(ops.softplus(negatives + offset) * counts, axis=1)
        return (beta * ops.softplus(-positives - offset) + of_negatives) / self.negatives

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "t": self.t, "offset": self.offset}
