"""Exact top-k and ranks of targets over all candidates: blocked products and a partial sort, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from kerasrec.retrieval.lists import Lists
from kerasrec.retrieval.scores import Scores, Similarity, VectorScores, for_each_block

GROUP = 8  # candidates, of which the best score is looked at first,
GROUPED_FROM = 200  # where there are as many candidates for each of the k
FEWEST_GROUPS = 128  # in which a bound is searched for
MOST_COMPARED = 16  # targets of a query that are compared with all scores; more are searched in sorted scores


class TopK(NamedTuple):
    """The best candidates of each query, best first.

    Attributes:
        rows: (n, k) int64, positions among the candidates; -1 where a query has fewer than k.
        scores: (n, k) floats; -inf where a query has fewer than k.
    """

    rows: np.ndarray
    scores: np.ndarray


def top_k(
    queries: np.ndarray,
    candidates: np.ndarray,
    k: int,
    *,
    similarity: Similarity = "dot",
    exclude: Lists | None = None,
) -> TopK:
    """Return the k best candidates of each query, computed exactly.

    The scores are products of blocks of queries with all candidates: a few blocks in memory at a time, of 4 MiB,
    or of 64 queries up to 128 MiB. Of equal scores the first candidate wins.

    Args:
        queries: (n, d) floats.
        candidates: (m, d) floats.
        k: how many, at least 1.
        similarity: "dot", "cosine" or "l2" (minus the squared distance).
        exclude: for each query the positions of candidates to leave out, such as items that a user has seen.

    Example:

    >>> top_k(np.array([[1.0, 0.0]]), np.array([[1.0, 5.0], [3.0, 0.0], [2.0, 1.0]]), k=2)
    TopK(rows=array([[1, 2]]), scores=array([[3., 2.]]))
    """
    return top_k_of(VectorScores(queries, candidates, similarity), k, exclude=exclude)


def top_k_of(scores: Scores, k: int, *, exclude: Lists | None = None) -> TopK:
    """Return the k best candidates of each query as `top_k` does, by any scores."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ValueError(f"k must be an integer >= 1; got {k!r}")
    if exclude is not None:
        exclude.check("exclude", scores.queries, scores.candidates)
    best: dict[int, TopK] = {}

    def select(start: int, block: np.ndarray) -> None:
        leave_out(block, start, exclude)
        best[start] = best_of_block(block, int(k))

    for_each_block(scores, select)
    if not best:
        return TopK(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
    blocks = [best[start] for start in sorted(best)]
    return TopK(np.concatenate([b.rows for b in blocks]), np.concatenate([b.scores for b in blocks]))


def best_of_block(block: np.ndarray, k: int) -> TopK:
    """Return the k best columns of each row, best first; of equal scores the first column wins."""
    return _sorted(_leaders(block, k), k)


class _Leaders(NamedTuple):
    """The k best candidates of each query, and few others.

    Attributes:
        columns: (n, width) int64; -1 where a query has fewer.
        scores: (n, width); -inf where a query has fewer.
        least: (n,), the lowest score of a leader; others are below it.
    """

    columns: np.ndarray
    scores: np.ndarray
    least: np.ndarray


def _leaders(block: np.ndarray, k: int) -> _Leaders:
    """Return all columns of each row whose scores reach a bound that the k best reach."""
    count, width = block.shape
    size = GROUP if width >= GROUPED_FROM * k else 1
    groups = width // size
    maxima = _maxima(block, groups, size)
    least = _lower_bound(maxima, k)
    row, column = np.divmod(np.flatnonzero(maxima >= least[:, None]), maxima.shape[1])
    if size == 1:
        scores = block[row, column]
    else:
        # All columns of a group whose best one reaches the bound; a column left over is the last of its own.
        members = block.reshape(-1).take((row * width + column)[:, None] + groups * np.arange(size))
        members[column >= groups, : size - 1] = -np.inf
        at = np.flatnonzero(members >= least[row, None])
        place = at // size
        row, column = row[place], column[place] + groups * (at - place * size)
        scores = members.reshape(-1)[at]
    counts = np.bincount(row, minlength=count)
    filled = np.arange(counts.max(initial=0)) < counts[:, None]
    leaders = _Leaders(np.full(filled.shape, -1, np.int64), np.full(filled.shape, -np.inf, block.dtype), least)
    leaders.columns[filled], leaders.scores[filled] = column, scores
    return leaders


def _sorted(leaders: _Leaders, k: int) -> TopK:
    """Return the k best leaders in order."""
    count, width = leaders.columns.shape
    rows, scores = np.full((count, k), -1, np.int64), np.full((count, k), -np.inf, leaders.scores.dtype)
    kept = min(k, width)
    if leaders.scores.dtype == np.float32:
        # Score and column as one integer: NumPy sorts integers several times as fast as it finds an order.
        bits = (leaders.scores + np.float32(0)).view(np.uint32)  # adding 0 makes -0.0 the same as 0.0
        descending = np.where(bits >> 31, bits, ~bits & np.uint32(0x7FFFFFFF))
        keys = (descending.astype(np.uint64) << 32) | (leaders.columns & 0xFFFFFFFF).astype(np.uint64)
        keys = np.sort(keys, axis=1)[:, :kept]
        rows[:, :kept] = (keys & 0xFFFFFFFF).astype(np.int64)
        bits = (keys >> 32).astype(np.uint32)
        scores[:, :kept] = np.where(bits >> 31, bits, ~bits & np.uint32(0x7FFFFFFF)).view(np.float32)
    else:
        order = np.lexsort((leaders.columns, -leaders.scores), axis=1)[:, :kept]
        rows[:, :kept] = np.take_along_axis(leaders.columns, order, axis=1)
        scores[:, :kept] = np.take_along_axis(leaders.scores, order, axis=1)
    rows[scores == -np.inf] = -1
    return TopK(rows, scores)


def _lower_bound(scores: np.ndarray, k: int) -> np.ndarray:
    """Return for each row a number that its k best scores reach, and few others.

    The k best of the maxima of groups of columns are k scores of different columns.
    """
    count, width = scores.shape
    if width <= k:
        return np.full(count, -np.inf, scores.dtype)
    size = max(1, width // max(4 * k, FEWEST_GROUPS))
    maxima = _maxima(scores, width // size, size)
    return np.partition(maxima, maxima.shape[1] - k, axis=1)[:, -k]


def _maxima(scores: np.ndarray, groups: int, size: int) -> np.ndarray:
    """Return the maximum of each of some groups of columns, and the columns that are left over.

    Group i has the columns i, i + groups, i + 2 groups, ...: so the maxima are taken over rows in memory.
    """
    if size == 1:
        return scores
    strides = (scores.strides[0], groups * scores.strides[1], scores.strides[1])
    grouped = as_strided(scores, (len(scores), size, groups), strides, writeable=False)
    return np.concatenate([grouped.max(axis=1), scores[:, groups * size :]], axis=1)


def _counter(most: int) -> type[np.unsignedinteger]:
    """Return the narrowest type that counts up to `most`: NumPy adds it up fastest."""
    return np.uint16 if most < 1 << 16 else np.uint32


def target_ranks(
    queries: np.ndarray,
    candidates: np.ndarray,
    targets: Lists,
    *,
    similarity: Similarity = "dot",
    exclude: Lists | None = None,
) -> np.ndarray:
    """Return at which rank each target is among all candidates of its query, 0 being the best.

    Ties count against the model: a candidate with a target's score is ranked before it, so that a model of equal
    scores is as bad as can be, not perfect. Targets of one query with equal scores follow each other.

    Args:
        queries: (n, d) floats.
        candidates: (m, d) floats.
        targets: for each query the positions of its targets, none twice; -1 is a target that is not a candidate.
        similarity: "dot", "cosine" or "l2".
        exclude: for each query the positions of candidates to leave out of the ranking.

    Returns:
        int64, one per value of `targets`. A target that is not a candidate or is left out is never recommended:
        its rank is m, after all candidates.

    Example:

    >>> target_ranks(np.eye(2), np.array([[1.0, 5.0], [3.0, 0.0], [2.0, 1.0]]), Lists.of([[2], [2, 0]]))
    array([1, 1, 0])
    """
    return target_ranks_of(VectorScores(queries, candidates, similarity), targets, exclude=exclude)


def target_ranks_of(scores: Scores, targets: Lists, *, exclude: Lists | None = None) -> np.ndarray:
    """Return the ranks of targets as `target_ranks` does, by any scores."""
    targets.check("targets", scores.queries, scores.candidates)
    targets.refuse_repeated("targets")
    if exclude is not None:
        exclude.check("exclude", scores.queries, scores.candidates)
    ranks = np.empty(len(targets.values), np.int64)

    def rank(start: int, block: np.ndarray) -> None:
        leave_out(block, start, exclude)
        stop = start + len(block)
        ranks[targets.offsets[start] : targets.offsets[stop]] = ranks_in_block(block, targets.rows(start, stop))

    for_each_block(scores, rank)
    return ranks


def ranks_and_coverage(
    scores: Scores, targets: Lists, at: Sequence[int], *, exclude: Lists | None = None
) -> tuple[np.ndarray, dict[int, int]]:
    """Return the ranks of targets as `target_ranks` does, but those from `max(at)` on as any such number, and for
    each k how many candidates are among the k best of any query."""
    targets.check("targets", scores.queries, scores.candidates)
    targets.refuse_repeated("targets")
    if exclude is not None:
        exclude.check("exclude", scores.queries, scores.candidates)
    ranks = np.empty(len(targets.values), np.int64)
    covered = {k: np.zeros(scores.candidates + 1, bool) for k in at}  # the last is for -1, where there are fewer

    def rank(start: int, block: np.ndarray) -> None:
        leave_out(block, start, exclude)
        stop = start + len(block)
        own, leaders = targets.rows(start, stop), _leaders(block, max(at))
        reached = _scores_of(block, own)
        # k candidates or more are before a target that is no leader; `_ranks` would take one of them for its own.
        is_leader = reached >= leaders.least[own.row_numbers]
        places = np.where(is_leader, _ranks(leaders.scores, own, reached), max(at))
        ranks[targets.offsets[start] : targets.offsets[stop]] = np.where(
            reached > -np.inf, places, scores.candidates
        )
        best = _sorted(leaders, max(at)).rows
        for k in at:
            covered[k][best[:, :k]] = True

    for_each_block(scores, rank)
    return ranks, {k: int(candidates[:-1].sum()) for k, candidates in covered.items()}


def ranks_in_block(block: np.ndarray, targets: Lists) -> np.ndarray:
    """Return the rank of each row's targets among its columns, ties against the model."""
    reached = _scores_of(block, targets)
    return np.where(reached > -np.inf, _ranks(block, targets, reached), block.shape[1])


def _scores_of(block: np.ndarray, targets: Lists) -> np.ndarray:
    """Return the scores of targets, -inf for those that are not candidates."""
    if not block.size:
        return np.full(len(targets.values), -np.inf)
    return np.where(targets.values >= 0, block[targets.row_numbers, targets.values], -np.inf)


def _ranks(scores: np.ndarray, targets: Lists, reached: np.ndarray) -> np.ndarray:
    """Return how many of a row's scores reach each target's, without the target's own."""
    width = scores.shape[1]
    ranks = np.empty(len(reached), np.int64)
    most = int(targets.lengths.max(initial=0))
    if most > MOST_COMPARED:
        ordered = np.sort(scores, axis=1)
        for i in range(len(targets)):
            span = slice(targets.offsets[i], targets.offsets[i + 1])
            ranks[span] = width - np.searchsorted(ordered[i], reached[span])
    else:
        for j in range(most):
            rows = np.flatnonzero(targets.lengths > j)
            at = targets.offsets[rows] + j
            own = scores if len(rows) == len(scores) else scores[rows]
            below = own < reached[at, None].astype(scores.dtype, copy=False)
            ranks[at] = width - np.add.reduce(below.view(np.uint8), axis=1, dtype=_counter(width)).astype(np.int64)
    if most > 1:
        ranks -= _equal_targets_after(targets.row_numbers, reached)
    return ranks - 1


def _equal_targets_after(row: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return for each target how many later ones of its row have its score."""
    order = np.lexsort((np.arange(len(row)), scores, row))
    row, scores = row[order], scores[order]
    last = np.ones(len(row), bool)
    last[:-1] = (row[1:] != row[:-1]) | (scores[1:] != scores[:-1])
    ends = np.flatnonzero(last)
    after = np.empty(len(row), np.int64)
    after[order] = ends[np.searchsorted(ends, np.arange(len(row)))] - np.arange(len(row))
    return after


def leave_out(block: np.ndarray, start: int, exclude: Lists | None) -> None:
    """Set the scores of excluded candidates to -inf, in the block of the queries from `start`."""
    if exclude is not None:
        lists = exclude.rows(start, start + len(block))
        listed = lists.values >= 0
        block[lists.row_numbers[listed], lists.values[listed]] = -np.inf
