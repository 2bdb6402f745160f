"""Exact top-k and ranks of targets over all candidates: blocked products and a partial sort, in NumPy."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kerasrec.kernels.ranks import count_and_cover
from kerasrec.retrieval.lists import Lists
from kerasrec.retrieval.scores import Scores, Similarity, VectorScores, for_each_block
from kerasrec.retrieval.selection import TopK, best_of_block

MOST_COMPARED = 16  # targets of a query that are compared with all scores; more are searched in sorted scores


def top_k(
    queries: np.ndarray,
    candidates: np.ndarray,
    k: int,
    *,
    similarity: Similarity = "dot",
    exclude: Lists | None = None,
) -> TopK:
    """Return the k best candidates of each query, computed exactly.

    The scores are products of blocks of queries with all candidates: one per processor in memory at a time, of 4
    MiB or of 256 queries, up to 512 MiB of all. Of equal scores the first candidate wins.

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
    no_targets = Lists(np.empty(0, np.int64), np.zeros(scores.queries + 1, np.int64))

    def select(start: int, block: np.ndarray) -> None:
        leave_out(block, start, exclude, no_targets.rows(start, start + len(block)))
        best[start] = best_of_block(block, int(k))

    for_each_block(scores, select)
    if not best:
        return TopK(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
    blocks = [best[start] for start in sorted(best)]
    return TopK(np.concatenate([b.rows for b in blocks]), np.concatenate([b.scores for b in blocks]))


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
        exclude: for each query the positions of candidates to leave out of the ranking. A target is never left
            out of its own query's, even where it is listed here.

    Returns:
        int64, one per value of `targets`. A target that is not a candidate is never recommended: its rank is m,
        after all candidates.

    Example:

    >>> target_ranks(np.eye(2), np.array([[1.0, 5.0], [3.0, 0.0], [2.0, 1.0]]), Lists.of([[2], [2, 0]]))
    array([1, 1, 0])
    """
    return target_ranks_of(VectorScores(queries, candidates, similarity), targets, exclude=exclude)


def target_ranks_of(scores: Scores, targets: Lists, *, exclude: Lists | None = None) -> np.ndarray:
    """Return the ranks of targets as `target_ranks` does, by any scores."""
    return ranking_of(scores, targets, (), exclude=exclude).ranks


class Ranking(NamedTuple):
    """The ranks of targets, and what is among the best.

    Attributes:
        ranks: as `target_ranks` returns them.
        covered: for each k which candidates are among the k best of any query, (m,) bool.
        targets_seen: how many targets are listed in `exclude`.
    """

    ranks: np.ndarray
    covered: dict[int, np.ndarray]
    targets_seen: int


def ranking_of(scores: Scores, targets: Lists, at: Sequence[int], *, exclude: Lists | None = None) -> Ranking:
    """Return the ranks of targets, and which candidates are covered."""
    targets.check("targets", scores.queries, scores.candidates)
    targets.refuse_repeated("targets")
    if exclude is not None:
        exclude.check("exclude", scores.queries, scores.candidates)
    ranks, seen = np.empty(len(targets.values), np.int64), np.zeros(len(targets.values), bool)
    cuts, levels, lock = sorted(set(at)), np.zeros(scores.candidates, np.uint8), threading.Lock()

    def rank(start: int, block: np.ndarray) -> None:
        own = targets.rows(start, start + len(block))
        span = slice(targets.offsets[start], targets.offsets[start + len(block)])
        reached, seen[span] = leave_out(block, start, exclude, own)
        raised = levels.copy()
        places = _ranks(block, own, reached, cuts, raised)
        ranks[span] = np.where(reached > -np.inf, places, scores.candidates)
        with lock:
            np.maximum(levels, raised, out=levels)

    for_each_block(scores, rank)
    covered = {k: levels >= len(cuts) - i for i, k in enumerate(cuts)}
    return Ranking(ranks, covered, int(seen.sum()))


def _ranks(
    scores: np.ndarray, targets: Lists, reached: np.ndarray, at: Sequence[int], levels: np.ndarray
) -> np.ndarray:
    """Return how many of a row's scores reach each target's, without the target's own; mark what is covered.

    Args:
        scores: (n, m).
        targets: those of each row.
        reached: their scores.
        at, levels: as `count_and_cover` has them.
    """
    most = int(targets.lengths.max(initial=0))
    if most > MOST_COMPARED:
        count_and_cover(scores, np.zeros_like(targets.offsets), np.empty(0), at, levels)
        ranks = np.empty(len(reached), np.int64)
        ordered = np.sort(scores, axis=1)
        for i in range(len(targets)):
            span = slice(targets.offsets[i], targets.offsets[i + 1])
            ranks[span] = scores.shape[1] - np.searchsorted(ordered[i], reached[span])
    else:
        ranks = count_and_cover(scores, targets.offsets, reached, at, levels)
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


def leave_out(
    block: np.ndarray, start: int, exclude: Lists | None, targets: Lists
) -> tuple[np.ndarray, np.ndarray]:
    """Set the scores of excluded candidates to -inf, in the block of the queries from `start`.

    A target is never left out of the ranking of its own query: that is the rule wherever something is evaluated.

    Returns:
        The scores of targets, -inf for those that are not candidates; and which targets are listed in `exclude`.
    """
    reached, seen = np.full(len(targets.values), -np.inf), np.zeros(len(targets.values), bool)
    own = targets.values >= 0
    rows, columns = targets.row_numbers[own], targets.values[own]
    reached[own] = block[rows, columns]
    if exclude is not None:
        lists = exclude.rows(start, start + len(block))
        places = lists.row_numbers * block.shape[1] + lists.values
        block.reshape(-1)[places[lists.values >= 0]] = -np.inf
        seen[own] = (block[rows, columns] == -np.inf) & (reached[own] > -np.inf)
        block[rows, columns] = reached[own]
    return reached, seen
