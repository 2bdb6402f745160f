"""Rows summarised as ranges of scores: AUC in bounded memory, with a known bound of its error."""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from kerasrec.metrics.on_backend import traced_once
from kerasrec.typing import Tensor

NONE = float("inf")  # the score of an entry without a row


class ScoreRanges(NamedTuple):
    """Disjoint ranges of scores in ascending order, and the weights of the rows in each.

    Attributes:
        low, high: the least and the greatest score of each range, (capacity,); equal where all its rows tie.
        positives, negatives: the weight of its rows of either label, (capacity,).
        count: how many ranges there are, (); entries from there on mean nothing.
        lost_pairs: the weight of the pairs of a positive and a negative whose order the ranges no longer tell, ().
    """

    low: Tensor
    high: Tensor
    positives: Tensor
    negatives: Tensor
    count: Tensor
    lost_pairs: Tensor


@traced_once
def add_rows(ranges: ScoreRanges, scores: Tensor, weights: Tensor, rows: Tensor) -> ScoreRanges:
    """Return the ranges with further rows in them. All shapes are static, so it can be traced on any backend.

    Each distinct score is a range of its own while there are no more of them than `capacity`. Beyond that,
    neighbours are put together so that each range has about an equal share of the positives and negatives: the
    pairs within ranges, whose order is lost, are then about 1 / capacity of all pairs whatever the scores are.

    Args:
        ranges: those so far.
        scores: finite, (n,).
        weights: of positives, and negated of negatives, (n,).
        rows: how many of the n count: the first ones.
    """
    capacity, dtype = ranges.low.shape[0], ranges.positives.dtype
    in_use, is_row = ops.arange(capacity) < ranges.count, ops.arange(scores.shape[0]) < rows
    weights = ops.cast(_where(is_row, weights, 0.0), dtype)
    low = ops.concatenate([_where(in_use, ranges.low, NONE), _where(is_row, scores, NONE)])
    positives = ops.concatenate([_where(in_use, ranges.positives, 0.0), ops.maximum(weights, 0)])
    negatives = ops.concatenate([_where(in_use, ranges.negatives, 0.0), ops.maximum(-weights, 0)])
    order = ops.argsort(low)
    low, positives, negatives = (ops.take(values, order) for values in (low, positives, negatives))

    # Ranges are in their order among the sorted entries: counting finds the last one at or before an entry.
    is_range = order < capacity
    ranges_so_far = ops.cumsum(ops.cast(is_range, "int32"))
    known_range = ops.logical_and(ranges_so_far > 0, ranges_so_far <= ranges.count)
    last_high = _where(known_range, ops.take(ranges.high, ops.maximum(ranges_so_far - 1, 0)), -NONE)
    high = ops.where(is_range, ops.maximum(low, last_high), low)
    level = _group_numbers(ops.logical_and(low[1:] != low[:-1], low[1:] > last_high[:-1]))

    size = level.shape[0]
    level_positives, level_negatives = _sums(positives, level, size), _sums(negatives, level, size)
    # Pairs within a range tie or were lost before. Rows of one score tie; a row in a wide range may not.
    is_wide = _sums(ops.cast(high > low, dtype), level, size) > 0
    known = ops.where(is_wide, _sums(positives * negatives, level, size), level_positives * level_negatives)

    levels = level[-1] + ops.cast(low[-1] < NONE, "int32")  # entries without rows are the last level
    group = _groups(level_positives, level_negatives, levels, capacity)
    out_positives = _sums(level_positives, group, capacity + 1)[:capacity]
    out_negatives = _sums(level_negatives, group, capacity + 1)[:capacity]
    lost = out_positives * out_negatives - _sums(known, group, capacity + 1)[:capacity]
    entry_group = ops.take(group, level)
    return ScoreRanges(
        -ops.segment_max(-low, entry_group, capacity + 1)[:capacity],
        ops.segment_max(high, entry_group, capacity + 1)[:capacity],
        out_positives,
        out_negatives,
        ops.take(group, levels - 1) + 1,
        ranges.lost_pairs + ops.sum(lost),
    )


def auc_of_ranges(positives: Tensor, negatives: Tensor) -> Tensor:
    """Return the AUC of rows by ascending score, where those of one entry tie; NaN if a class is missing."""
    below = ops.cumsum(negatives) - negatives / 2
    pairs = ops.sum(positives) * ops.sum(negatives)
    return ops.sum(positives * below) / pairs  # 0 / 0 is NaN


@traced_once
def auc_of_rows(scores: Tensor, weights: Tensor) -> Tensor:
    """Return the AUC of a few rows, (n,), as `add_rows` takes them; traceable."""
    order = ops.argsort(scores)
    scores, weights = ops.take(scores, order), ops.take(weights, order)
    level = _group_numbers(scores[1:] != scores[:-1])
    size = level.shape[0]
    return auc_of_ranges(_sums(ops.maximum(weights, 0), level, size), _sums(ops.maximum(-weights, 0), level, size))


def _groups(positives: Tensor, negatives: Tensor, levels: Tensor, capacity: int) -> Tensor:
    """Return the group of each level, `capacity` for what is none: one each while there is room for all."""
    number = ops.arange(positives.shape[0])
    group = ops.where(levels <= capacity, number, _equal_shares(positives, negatives, capacity))
    return ops.where(number < levels, group, capacity)


def _equal_shares(positives: Tensor, negatives: Tensor, capacity: int) -> Tensor:
    """Return the group of each level, at most `capacity`: consecutive levels with equal shares of all rows.

    A level with many times that share is a group by itself: further rows of its score then tie with it alone.
    """
    tiny = 1e-37
    share = positives / ops.maximum(ops.sum(positives), tiny) + negatives / ops.maximum(ops.sum(negatives), tiny)
    before = ops.cumsum(share) - share
    # The shares of both labels sum to 2: at most 3/4 capacity buckets, and twice 1/8 capacity for large levels.
    bucket, is_large = ops.cast(ops.floor(before * (capacity * 3 / 8)), "int32"), share > 16 / capacity
    starts = ops.logical_or(bucket[1:] != bucket[:-1], ops.logical_or(is_large[1:], is_large[:-1]))
    return ops.minimum(_group_numbers(starts), capacity - 1)


def _group_numbers(starts: Tensor) -> Tensor:
    """Return each entry's group, from 0, where `starts` says which entries after the first begin one."""
    return ops.cumsum(ops.concatenate([ops.zeros((1,), "int32"), ops.cast(starts, "int32")]))


def _sums(values: Tensor, groups: Tensor, count: int) -> Tensor:
    return ops.segment_sum(values, groups, count)


def _where(condition: Tensor, values: Tensor, otherwise: float) -> Tensor:
    return ops.where(condition, values, ops.cast(otherwise, values.dtype))
