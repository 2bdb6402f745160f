"""Losses that compare a query's candidate with the other candidates of the batch."""

from __future__ import annotations

from typing import Any, Self

import keras
from keras import ops

from kerasrec.losses.batch_candidates import BatchCandidates
from kerasrec.losses.sampled import SampledLoss
from kerasrec.typing import Tensor

_NEVER = -1e30  # the score of a candidate that does not count


class InBatchLoss:
    """The base of losses that compare a query's candidate with those of the batch's other rows.

    Negatives cost nothing more to compute, so this is the loss of models whose candidates are made from many
    columns. On several ranks they are the candidates of all ranks, and gradients return to the rank of each. A
    subclass defines `compare`, and `get_config` if it has arguments of its own.

    Args:
        remove_accidental_hits: whether a candidate with the id of the query's own is not one of its negatives.
        hard_negatives: how many of the negatives count, those with the highest scores; None is all of them.
        memory: how many candidates of the batches before are further negatives, as constants.

    Raises:
        ValueError: `hard_negatives` below 1 or `memory` below 0.

    Source: hard negatives: Schroff et al., https://arxiv.org/abs/1503.03832; memory: Wang et al., "Cross-Batch
    Negative Sampling for Training Two-Tower Recommenders", https://arxiv.org/abs/2110.15154
    """

    counts_items = False

    def __init__(self, remove_accidental_hits: bool = True, hard_negatives: int | None = None, memory: int = 0):
        if hard_negatives is not None and (int(hard_negatives) != hard_negatives or hard_negatives < 1):
            raise ValueError(f"hard_negatives must be an integer >= 1 or None; got {hard_negatives!r}")
        if int(memory) != memory or memory < 0:
            raise ValueError(f"memory must be an integer >= 0; got {memory!r}")
        self.remove_accidental_hits = bool(remove_accidental_hits)
        self.hard_negatives, self.memory = hard_negatives, int(memory)

    def make_candidates(self, dim: int, item_count: int) -> BatchCandidates:
        """Return what collects the candidates for this loss, with the state that is kept between batches.

        Args:
            dim: the width of the vectors.
            item_count: the number of ids, which are in [0, item_count).
        """
        return BatchCandidates(dim, item_count if self.counts_items else None, self.memory)

    def per_example(
        self,
        queries: Tensor,
        candidates: Tensor,
        ids: Tensor,
        collect: BatchCandidates,
        training: bool | None = None,
    ) -> Tensor:
        """Return the loss of each row, `(batch,)` float32.

        Args:
            queries, candidates: of each row, `(batch, dim)`; the score of two is their dot product.
            ids: of the candidates, `(batch,)` integers.
            collect: what `make_candidates` returned.
            training: whether the batch is counted and remembered.
        """
        queries, candidates = ops.cast(queries, "float32"), ops.cast(candidates, "float32")
        ids = ops.cast(ids, "int32")
        others = collect(candidates, ids, training=training)
        positives = self.adjust(ops.sum(queries * candidates, axis=-1), ids, collect)
        negatives = self.adjust(ops.matmul(queries, ops.transpose(others.vectors)), others.ids, collect)
        is_negative = ops.logical_and(self._is_other(ids, others.ids, others.first), others.ids >= 0)
        if self.hard_negatives is not None:
            negatives, is_negative = self._hardest(negatives, is_negative)
        return self.compare(positives, negatives, is_negative)

    def adjust(self, scores: Tensor, ids: Tensor, collect: BatchCandidates) -> Tensor:
        """Return scores `(batch, n)`, or `(n,)`, of candidates with the ids `(n,)`, as the loss compares them."""
        return scores

    def compare(self, positives: Tensor, negatives: Tensor, is_negative: Tensor) -> Tensor:
        """Return the loss of each row, `(batch,)`.

        Args:
            positives: the score of each row's own candidate, `(batch,)`.
            negatives: the scores of others, `(batch, n)`.
            is_negative: which of these count, `(batch, n)`.
        """
        raise NotImplementedError

    def _is_other(self, ids: Tensor, other_ids: Tensor, first: Tensor | int) -> Tensor:
        if self.remove_accidental_hits:
            return ids[:, None] != other_ids[None, :]
        own = ops.arange(ops.shape(ids)[0], dtype="int32") + ops.cast(first, "int32")
        return own[:, None] != ops.arange(ops.shape(other_ids)[0], dtype="int32")[None, :]

    def _hardest(self, negatives: Tensor, is_negative: Tensor) -> tuple[Tensor, Tensor]:
        count, most = ops.shape(negatives)[1], self.hard_negatives or 1
        most = min(most, count) if isinstance(count, int) else ops.minimum(most, count)
        scores, _ = ops.top_k(ops.where(is_negative, negatives, _NEVER), most)
        return scores, scores > _NEVER

    def get_config(self) -> dict[str, Any]:
        return {
            "remove_accidental_hits": self.remove_accidental_hits,
            "hard_negatives": self.hard_negatives,
            "memory": self.memory,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**config)


@keras.saving.register_keras_serializable("kerasrec")
class InBatchSoftmax(InBatchLoss):
    """Compares a query's candidate with the others of the batch by softmax.

    With the scores `s_ij = q_i . c_j / temperature - log n_j` the loss of row i is
    `-log(exp(s_ii) / (exp(s_ii) + sum_j exp(s_ij)))`, over all j whose id is not row i's.

    A frequent item is a negative more often, for which `log n_j` makes up: `n_j` says how often item j was a
    candidate since training began, on all ranks, and `n_j` over their sum is the probability of drawing it. The
    counts are part of the model and are saved with it.

    Args:
        temperature: scores are divided by it; for vectors of length 1, as of similarity "cosine", about 0.05.
        logq_correction: whether `log n_j` is subtracted.
        remove_accidental_hits, hard_negatives, memory: as in `InBatchLoss`.

    Raises:
        ValueError: `temperature` is not above 0, and as `InBatchLoss`.

    Example:

    >>> model.compile(loss=kr.losses.InBatchSoftmax(temperature=0.05, memory=8192))  # doctest: +SKIP

    Source: Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys
    2019, https://doi.org/10.1145/3298689.3346996; there the frequencies are estimated by a moving average in
    hashed places, here they are counted.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        logq_correction: bool = True,
        remove_accidental_hits: bool = True,
        hard_negatives: int | None = None,
        memory: int = 0,
    ):
        super().__init__(remove_accidental_hits, hard_negatives, memory)
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0; got {temperature!r}")
        self.temperature, self.counts_items = float(temperature), bool(logq_correction)

    def adjust(self, scores: Tensor, ids: Tensor, collect: BatchCandidates) -> Tensor:
        scores = scores / self.temperature
        return scores - collect.log_counts(ids) if self.counts_items else scores

    def compare(self, positives: Tensor, negatives: Tensor, is_negative: Tensor) -> Tensor:
        # -log(e^p / (e^p + sum e^n)) = softplus(log sum e^n - p)
        return ops.softplus(ops.logsumexp(ops.where(is_negative, negatives, _NEVER), axis=1) - positives)

    def get_config(self) -> dict[str, Any]:
        return {
            "temperature": self.temperature,
            "logq_correction": self.counts_items,
            **super().get_config(),
        }


@keras.saving.register_keras_serializable("kerasrec")
class InBatch(InBatchLoss):
    """Compares a query's candidate with the others of the batch as a `SampledLoss` does with items that it draws.

    Args:
        loss: such as `BPR()`, without `negatives` and `sampler`.
        remove_accidental_hits, hard_negatives, memory: as in `InBatchLoss`.

    Raises:
        ValueError: the loss is not a `SampledLoss`, or has `negatives`; and as `InBatchLoss`.

    Example:

    >>> model.compile(loss=kr.losses.InBatch(kr.losses.Hinge(margin=0.2), hard_negatives=8))  # doctest: +SKIP
    """

    def __init__(
        self,
        loss: SampledLoss,
        remove_accidental_hits: bool = True,
        hard_negatives: int | None = None,
        memory: int = 0,
    ):
        super().__init__(remove_accidental_hits, hard_negatives, memory)
        if not isinstance(loss, SampledLoss):
            raise ValueError(f"loss must be a kr.losses.SampledLoss, such as BPR(); got {loss!r}")
        if loss.negatives != type(loss)().negatives:
            raise ValueError(f"negatives={loss.negatives}: none are drawn in a batch; use hard_negatives=...")
        if loss.sampler is not None:
            raise ValueError("sampler=...: no items are drawn in a batch; leave it out")
        self.loss = loss

    def compare(self, positives: Tensor, negatives: Tensor, is_negative: Tensor) -> Tensor:
        return self.loss.compare(positives, negatives, is_negative)

    def get_config(self) -> dict[str, Any]:
        return {"loss": keras.saving.serialize_keras_object(self.loss), **super().get_config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})
