"""Rows summarised as ranges of scores: AUC in bounded memory, with a known bound of its error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from keras import ops

from kerasrec.metrics.on_backend import traced_once
from kerasrec.metrics.segments import differs, numbers, sums
from kerasrec.typing import Tensor

NONE = float("inf")  # the score of an entry without a row
SHARES = 2**30  # what the shares of all rows sum to: integers add up exactly on every backend


class ScoreRanges(NamedTuple):
    """Ranges of scores by their lowest one, and the weights of the rows in each. Ranges may overlap.

    AUC is 1/2 + (concordant - discordant) / (2 positives negatives) in weights of pairs of a positive and a
    negative, where pairs of one score are neither. Two ranges that do not overlap tell the order of their pairs.

    Attributes:
        low, high: the least and the greatest score of each range, (capacity,); equal where all its rows tie.
        positives, negatives: the weight of its rows of either label, (capacity,).
        count: how many ranges there are, (); entries from there on mean nothing.
        surplus: concordant less discordant pairs whose order was seen, but which these ranges do not tell, ().
        lost_pairs: the weight of the pairs whose order was never seen, (); they count as neither.
    """

    low: Tensor
    high: Tensor
    positives: Tensor
    negatives: Tensor
    count: Tensor
    surplus: Tensor
    lost_pairs: Tensor


@traced_once
def add_rows(ranges: ScoreRanges, scores: Tensor, weights: Tensor, rows: Tensor) -> ScoreRanges:
    """Return the ranges with further rows in them. All shapes are static, so it can be traced on any backend.

    Each distinct score is a range of its own while there are no more of them than `capacity`. Beyond that,
    neighbours are put together so that each range has about an equal share of the positives and negatives. That
    loses nothing: the order of their pairs is known and kept in `surplus`. Lost are later rows' pairs with a range
    in which they lie: about 1 / capacity of all pairs, whatever the scores are.

    Args:
        ranges: those so far.
        scores: finite, (n,).
        weights: of positives, and negated of negatives, (n,).
        rows: how many of the n count: the first ones.
    """
    capacity, dtype = ranges.low.shape[0], ranges.positives.dtype
    in_use, is_row = ops.arange(capacity) < ranges.count, ops.arange(scores.shape[0]) < rows
    range_low, range_high = _where(in_use, ranges.low, NONE), _where(in_use, ranges.high, NONE)
    low = ops.concatenate([range_low, _where(is_row, scores, NONE)])
    weights = ops.cast(_where(is_row, weights, 0.0), dtype)
    sides = [
        ops.concatenate([_where(in_use, ranges.positives, 0.0), ops.maximum(weights, 0)]),
        ops.concatenate([_where(in_use, ranges.negatives, 0.0), ops.maximum(-weights, 0)]),
    ]
    order = ops.argsort(low)
    low, sides = ops.take(low, order), ops.unstack(ops.take(ops.stack(sides, 1), order, axis=0), axis=1)
    is_range = order < capacity
    high = ops.where(is_range, ops.take(range_high, ops.minimum(order, capacity - 1)), low)
    ends = ops.searchsorted(low, high, side="right")

    group, count = _groups(low, _ended(ops.ones_like(ends), ends), sides, capacity)
    out_low = -ops.segment_max(-low, group, capacity + 1)
    out_high = ops.segment_max(high, group, capacity + 1)
    out_sides = [sums(side, group, capacity + 1) for side in sides]
    out_ends = ops.searchsorted(out_low[:capacity], out_high, side="right")

    before = [_ended(side, ends) for side in sides]
    after = [ops.take(_ended(side, out_ends), group) for side in out_sides]
    new = [ops.where(is_range, ops.zeros_like(side), side) for side in sides]
    return ScoreRanges(
        out_low[:capacity],
        out_high[:capacity],
        out_sides[0][:capacity],
        out_sides[1][:capacity],
        count,
        ranges.surplus + ops.sum(sides[0] * (before[1] - after[1]) - sides[1] * (before[0] - after[0])),
        ranges.lost_pairs + _pairs_within(ranges._replace(low=range_low, high=range_high), low, new),
    )


def _pairs_within(ranges: ScoreRanges, low: Tensor, new: Sequence[Tensor]) -> Tensor:
    """Return the weight of the pairs of new rows with the ranges in which they lie.

    Args:
        ranges: infinite where not in use.
        low: sorted scores, (n,).
        new: the weights of positives and of negatives of new rows with these, (n,) each.
    """
    first, end = ops.searchsorted(low, ranges.low), ops.searchsorted(low, ranges.high, side="right")
    sums = [ops.pad(ops.cumsum(side), (1, 0)) for side in new]
    positives, negatives = (ops.take(side, end) - ops.take(side, first) for side in sums)
    pairs = ranges.positives * negatives + ranges.negatives * positives
    return ops.sum(ops.where(ranges.high > ranges.low, pairs, ops.zeros_like(pairs)))


def _groups(low: Tensor, ended: Tensor, sides: Sequence[Tensor], capacity: int) -> tuple[Tensor, Tensor]:
    """Return the group of each entry, in ascending order, and how many groups there are.

    Entries without rows get group `capacity`.

    Args:
        low: sorted, (n,).
        ended: how many entries end below the lowest score of each, (n,).
        sides: the weights of positives and of negatives, (n,) each.
        capacity: of groups.
    """
    size, equal_share = low.shape[0], SHARES / capacity
    positives, negatives = (side * (SHARES / 2 / ops.maximum(ops.sum(side), 1e-37)) for side in sides)
    share = ops.cast(ops.ceil(positives + negatives), "int32")
    new_score = differs(low)
    # Ranges and the rows in them stay together, or later rows would be lost in two ranges; not if they are many.
    new_chain = ended == ops.arange(size)
    chain = numbers(new_chain)
    is_long = ops.take(sums(share, chain, size), chain) > int(3 * equal_share)
    fits = ops.sum(ops.cast(new_score, "int32")) <= capacity
    unit = numbers(ops.where(fits, new_score, new_chain | (new_score & is_long)))
    units = unit[-1] + ops.cast(low[-1] < NONE, "int32")  # entries without rows are the last one
    number = ops.arange(size)
    group = ops.where(units <= capacity, number, _equal_shares(sums(share, unit, size), capacity))
    group = ops.where(number < units, group, capacity)
    return ops.take(group, unit), ops.take(group, units - 1) + 1


def _equal_shares(share: Tensor, capacity: int) -> Tensor:
    """Return the group of each unit, at most `capacity`: consecutive units with equal shares of all rows.

    A unit with many times that share is a group by itself: further rows of its score then tie with it alone.
    """
    equal_share = SHARES / capacity
    bucket = ops.floor_divide(ops.cumsum(share) - share, int(1.3 * equal_share))
    is_large = share > min(int(9 * equal_share), 2**31 - 1)
    after_large = ops.concatenate([is_large[:1], is_large[:-1]])
    # There are at most capacity / 1.3 buckets, and capacity / 9 large units, each with the start after it.
    return ops.minimum(numbers(differs(bucket) | is_large | after_large), capacity - 1)


def _ended(weights: Tensor, ends: Tensor) -> Tensor:
    """Return the weight of the entries that end before each entry, where `ends` says the first one after each."""
    size = weights.shape[0]
    return ops.cumsum(sums(weights, ends, size + 1))[:size]


def _where(condition: Tensor, values: Tensor, otherwise: float) -> Tensor:
    return ops.where(condition, values, ops.cast(otherwise, values.dtype))
