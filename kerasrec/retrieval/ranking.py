"""Exact top-k and ranks of targets over all candidates: blocked products and a partial sort, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from kerasrec.retrieval.lists import Lists
from kerasrec.retrieval.scores import Scores, Similarity, VectorScores, for_each_block

GROUP = 32  # at most so many candidates form a group, of which the best score is looked at first
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

    The scores are products of blocks of queries with all candidates, never more than 256 MiB at a time. Of equal
    scores the first candidate wins.

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
    count, width = block.shape
    rows = np.full((count, k), -1, np.int64)
    scores = np.full((count, k), -np.inf, block.dtype)
    if not block.size:
        return TopK(rows, scores)
    row, column = np.divmod(np.flatnonzero(block >= _lower_bound(block, k)[:, None]), width)
    place = np.arange(len(row)) - np.searchsorted(row, np.arange(count))[row]
    columns = np.full((count, int(place.max()) + 1), -1, np.int64)
    values = np.full(columns.shape, -np.inf, block.dtype)
    columns[row, place], values[row, place] = column, block[row, column]
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    kept = order.shape[1]
    scores[:, :kept] = np.take_along_axis(values, order, axis=1)
    rows[:, :kept] = np.take_along_axis(columns, order, axis=1)
    rows[scores == -np.inf] = -1
    return TopK(rows, scores)


def _lower_bound(block: np.ndarray, k: int) -> np.ndarray:
    """Return for each row a number that its k best scores reach, and few others.

    The k best of the maxima of groups of candidates are k scores of different candidates.
    """
    count, width = block.shape
    if width <= k:
        return np.full(count, -np.inf, block.dtype)
    size = max(1, min(GROUP, width // (4 * k)))
    groups = width // size
    even = groups * size
    # Group i has the columns i, i + groups, i + 2 groups ...: the maximum is over rows in memory.
    row_stride, stride = block.strides
    grouped = as_strided(block, (count, size, groups), (row_stride, groups * stride, stride), writeable=False)
    maxima = np.concatenate([grouped.max(axis=1), block[:, even:]], axis=1)
    return np.partition(maxima, maxima.shape[1] - k, axis=1)[:, -k]


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
    """Return the ranks of targets as `target_ranks` does, and for each k how many candidates are among the k best
    of any query, of one product."""
    targets.check("targets", scores.queries, scores.candidates)
    targets.refuse_repeated("targets")
    if exclude is not None:
        exclude.check("exclude", scores.queries, scores.candidates)
    ranks = np.empty(len(targets.values), np.int64)
    covered = {k: np.zeros(scores.candidates + 1, bool) for k in at}  # the last is for -1, where there are fewer

    def rank(start: int, block: np.ndarray) -> None:
        leave_out(block, start, exclude)
        stop = start + len(block)
        ranks[targets.offsets[start] : targets.offsets[stop]] = ranks_in_block(block, targets.rows(start, stop))
        best = best_of_block(block, max(at)).rows
        for k in at:
            covered[k][best[:, :k]] = True

    for_each_block(scores, rank)
    return ranks, {k: int(candidates[:-1].sum()) for k, candidates in covered.items()}


def ranks_in_block(block: np.ndarray, targets: Lists) -> np.ndarray:
    """Return the rank of each row's targets among its columns, ties against the model."""
    width = block.shape[1]
    row, column = targets.row_numbers, targets.values
    reached = np.where(column >= 0, block[row, column], -np.inf) if width else np.full(len(row), -np.inf)
    ranks = np.empty(len(row), np.int64)
    most = int(targets.lengths.max(initial=0))
    if most > MOST_COMPARED:
        ordered = np.sort(block, axis=1)
        for i in range(len(targets)):
            span = slice(targets.offsets[i], targets.offsets[i + 1])
            ranks[span] = width - np.searchsorted(ordered[i], reached[span])
    else:
        for j in range(most):
            rows = np.flatnonzero(targets.lengths > j)
            at = targets.offsets[rows] + j
            scores = block if len(rows) == len(block) else block[rows]
            below = scores < reached[at, None]
            ranks[at] = width - below.view(np.uint8).sum(axis=1, dtype=np.int32)
    if most > 1:
        ranks -= _equal_targets_after(row, reached)
    return np.where(reached > -np.inf, ranks - 1, width)


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
