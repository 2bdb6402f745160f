"""Scores in order with the weights of their rows, in NumPy: what exact AUC is computed from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class SortedScores:
    """Ranges of scores by their lowest one, as `ScoreRanges`; `low` is `high` where it is one score.

    Attributes:
        low, high: the least and the greatest score of each, (n,).
        positives, negatives: the weight of the rows of either label, (n,), float64.
        surplus: the weight of concordant less discordant pairs that the ranges do not tell.
    """

    low: Floats
    high: Floats
    positives: Floats
    negatives: Floats
    surplus: float = 0.0

    @classmethod
    def of_rows(cls, scores: Floats, weights: Floats) -> SortedScores:
        """Return the distinct scores of rows. Weights of negatives are negated; rows of weight 0 are dropped."""
        if not weights.all():
            scores, weights = scores[weights != 0], weights[weights != 0]
        if scores.dtype == np.float32 and (np.abs(weights) == 1).all():
            scores, labels = _sorted_with_labels(scores, weights > 0)
            positives = labels.astype(np.float64)
            negatives = 1.0 - positives
        else:
            weights = weights.astype(np.float64)
            return cls.of_distinct(scores, np.maximum(weights, 0), np.maximum(-weights, 0))
        starts = _starts(scores[1:] != scores[:-1], len(scores))
        low = scores[starts]
        return cls(low, low, _sums(positives, starts), _sums(negatives, starts))

    @classmethod
    def of_distinct(cls, scores: Floats, positives: Floats, negatives: Floats) -> SortedScores:
        """Return what is known of scores in any order; equal ones are added up."""
        order = np.argsort(scores)
        scores = scores[order]
        starts = _starts(scores[1:] != scores[:-1], len(scores))
        return cls(
            scores[starts], scores[starts], _sums(positives[order], starts), _sums(negatives[order], starts)
        )

    def merge(self, other: SortedScores) -> SortedScores:
        """Return the ranges of both."""
        order = np.argsort(np.concatenate([self.low, other.low]), kind="stable")
        return SortedScores(
            np.concatenate([self.low, other.low])[order],
            np.concatenate([self.high, other.high])[order],
            np.concatenate([self.positives, other.positives])[order],
            np.concatenate([self.negatives, other.negatives])[order],
            self.surplus + other.surplus,
        )

    def at_middles(self) -> SortedScores:
        """Return the same with each range as one score, its middle; the AUC stays as it is."""
        middle = self.low + (self.high - self.low) / 2
        points = SortedScores.of_distinct(middle, self.positives, self.negatives)
        return replace(points, surplus=self._difference() - points._difference())

    def auc(self) -> float:
        """Return the AUC, where pairs in ranges that overlap count half; NaN if a class is missing."""
        pairs = self.positives.sum() * self.negatives.sum()
        return float(0.5 + self._difference() / pairs / 2) if pairs else float("nan")

    def _difference(self) -> float:
        """Return the weight of concordant less discordant pairs."""
        order = np.argsort(self.high, kind="stable")
        below = np.searchsorted(self.high[order], self.low)
        positives, negatives = (_cumsum(side[order])[below] for side in (self.positives, self.negatives))
        return float(self.positives @ negatives - self.negatives @ positives) + self.surplus

    def undecided(self, rows: SortedScores) -> float:
        """Return the weight of the pairs of `rows`, distinct scores, with the ranges in which they lie."""
        wide = self.high > self.low
        order = np.argsort(self.high[wide], kind="stable")
        after = np.searchsorted(self.low[wide], rows.low, side="right")
        before = np.searchsorted(self.high[wide][order], rows.low)
        positives, negatives = (
            _cumsum(side[wide])[after] - _cumsum(side[wide][order])[before]
            for side in (self.positives, self.negatives)
        )
        return float(rows.positives @ negatives + rows.negatives @ positives)


def _cumsum(values: Floats) -> Floats:
    """Return the sum of the first i values, (n + 1,)."""
    return np.concatenate([[0.0], np.cumsum(values)])


def _sorted_with_labels(
    scores: NDArray[np.float32], labels: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Sort scores with their labels as one integer each, which is several times as fast as `argsort`."""
    bits = (scores + np.float32(0)).view(np.int32)  # -0 becomes 0
    keys = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).astype(np.int64)  # in the order of the scores
    keys = np.sort(keys << 1 | labels)
    labels, bits = (keys & 1).astype(bool), (keys >> 1).astype(np.int32)
    return np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).view(np.float32), labels


def _starts(is_start: NDArray[np.bool_], count: int) -> NDArray[np.intp]:
    """Return the first index of each group of `count` entries, where `is_start` says which others begin one."""
    return np.flatnonzero(np.concatenate([np.ones(min(count, 1), bool), is_start]))


def _sums(values: Floats, starts: NDArray[np.intp]) -> Floats:
    return np.add.reduceat(values, starts) if len(starts) else np.zeros(0)
