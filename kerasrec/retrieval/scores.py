"""Scores of all candidates for some queries, block by block: of vectors, or from a function."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, Protocol, TypeAlias, get_args

import numpy as np

from kerasrec.retrieval.blas import blas_threads, one_product_per_thread

Similarity: TypeAlias = Literal["dot", "cosine", "l2"]

CACHE_BYTES = 4 << 20  # a block of scores stays in a processor's cache between the product and the selection,
QUERIES = 256  # unless it has fewer rows: products of those take longer, as each reads all candidates
FEWEST_QUERIES = 64  # where QUERIES rows of all threads would take too much memory
MOST_BYTES = 512 << 20  # of all blocks of scores at a time
THREADS = 2  # that select from blocks of a function


class Scores(Protocol):
    """The scores of `candidates` candidates for `queries` queries; higher is better, -inf is never recommended."""

    @property
    def queries(self) -> int: ...

    @property
    def candidates(self) -> int: ...

    @property
    def concurrent(self) -> bool:
        """Whether several threads may ask for blocks at the same time, in any order."""
        ...

    def block(self, start: int, stop: int, memory: np.ndarray | None = None) -> np.ndarray:
        """Return the scores of the queries from `start` to before `stop`: (stop - start, candidates) floats
        in C order.

        The array belongs to the caller, who may write into it.

        Args:
            start, stop: which queries.
            memory: an earlier block that nobody needs any longer; the scores may be written into it.
        """
        ...


class VectorScores:
    """Computes scores of query and candidate vectors: `q . c`, `q . c / |q| |c|`, or `-|q - c|^2`.

    Args:
        queries: (n, d) floats.
        candidates: (m, d) floats.
        similarity: "dot", "cosine" (a vector of length 0 scores 0) or "l2" (minus the squared distance).

    Products are in float32, or in float64 if either has that type. Candidates of equal vectors have equal scores,
    which products alone do not ensure: the last digit depends on where a vector stands in them.

    Raises:
        ValueError: the widths differ, a number is not finite, or there is no such similarity.
    """

    def __init__(self, queries: np.ndarray, candidates: np.ndarray, similarity: Similarity = "dot"):
        if similarity not in get_args(Similarity):
            raise ValueError(f'similarity must be "dot", "cosine" or "l2"; got {similarity!r}')
        q, c = _vectors("queries", queries), _vectors("candidates", candidates)
        if q.shape[1] != c.shape[1]:
            raise ValueError(f"queries are {q.shape[1]} wide, candidates {c.shape[1]}; they must be of one width")
        dtype = np.result_type(q, c)
        q, c = q.astype(dtype, copy=False), c.astype(dtype, copy=False)
        if similarity == "cosine":
            q, c = unit_length(q), unit_length(c)
        self.squares: np.ndarray | None = None
        if similarity == "l2":
            # |q - c|^2 = |q|^2 - 2 q.c + |c|^2; around the candidates' mean the three cancel least.
            mean = c.mean(axis=0) if len(c) else np.zeros(c.shape[1], dtype)
            q, c = q - mean, c - mean
            self.squares = _squares(q)
            q = np.concatenate([2 * q, np.ones((len(q), 1), dtype)], axis=1)
            c = np.concatenate([c, -_squares(c)[:, None]], axis=1)
        self.queries, self.candidates, self.concurrent = len(q), len(c), True
        self._queries, self._candidates = q, c
        self._copies, self._originals = repeated_rows(c)

    def block(self, start: int, stop: int, memory: np.ndarray | None = None) -> np.ndarray:
        # The system clears new memory page by page, which takes a good part of the time of the product.
        out = memory[: stop - start] if memory is not None and len(memory) >= stop - start else None
        scores = np.matmul(self._queries[start:stop], self._candidates.T, out=out)
        if self.squares is not None:
            scores -= self.squares[start:stop, None]
        if len(self._copies):
            scores[:, self._copies] = scores[:, self._originals]
        return scores


class FunctionScores:
    """Takes scores from a function of a range of queries, for models that are not products of vectors.

    Args:
        function: returns (stop - start, candidates) for `(start, stop)`; called in order, in the calling thread.
        queries: how many there are.
        candidates: how many there are.

    Example:

    >>> popularity = np.array([3.0, 1.0, 2.0])
    >>> def same_for_all(start, stop):
    ...     return np.tile(popularity, (stop - start, 1))
    >>> scores = FunctionScores(same_for_all, queries=5, candidates=3)
    """

    def __init__(self, function: Callable[[int, int], np.ndarray], queries: int, candidates: int):
        self.function, self.queries, self.candidates = function, queries, candidates
        self.concurrent = False

    def block(self, start: int, stop: int, memory: np.ndarray | None = None) -> np.ndarray:
        scores = np.array(self.function(start, stop), order="C")
        if scores.shape != (stop - start, self.candidates) or scores.dtype.kind != "f":
            raise ValueError(
                f"scores of the queries from {start} to {stop} must be floats of shape "
                f"{(stop - start, self.candidates)}; got {scores.dtype} of shape {scores.shape}"
            )
        if np.isnan(scores).any():
            raise ValueError(f"a score of query {start + int(np.isnan(scores).any(axis=1).argmax())} is NaN")
        return scores.astype(np.float32 if scores.dtype.itemsize <= 4 else np.float64, copy=False)


def for_each_block(scores: Scores, work: Callable[[int, np.ndarray], None]) -> None:
    """Call `work(start, block)` for all queries' scores, in blocks, several at a time in threads.

    `work` writes its results where no other block's go, and keeps nothing of the block.
    """
    threads = blas_threads() if scores.concurrent else THREADS
    rows = rows_per_block(scores.queries, scores.candidates, threads)
    starts = deque(range(0, scores.queries, rows))

    def compute_and_work() -> None:  # a block that its own thread has computed is in that processor's cache
        block = None
        while starts:
            try:
                start = starts.popleft()
            except IndexError:  # another thread took the last one
                return
            block = scores.block(start, min(start + rows, scores.queries), block)
            work(start, block)

    if len(starts) == 1:
        compute_and_work()
    elif scores.concurrent:
        workers = max(1, min(threads, len(starts), MOST_BYTES // (rows * _row_bytes(scores.candidates))))
        with one_product_per_thread(max(1, threads // workers)), ThreadPoolExecutor(workers) as pool:
            try:
                for future in [pool.submit(compute_and_work) for _ in range(workers)]:
                    future.result()
            finally:
                starts.clear()
    else:
        with ThreadPoolExecutor(THREADS) as pool:
            pending: deque[Future[None]] = deque()
            for start in starts:
                pending.append(pool.submit(work, start, scores.block(start, min(start + rows, scores.queries))))
                if len(pending) > THREADS:
                    pending.popleft().result()
            for future in pending:
                future.result()


def rows_per_block(queries: int, candidates: int, threads: int) -> int:
    """Return of how many queries the scores are computed at a time; the threads have equal numbers of blocks."""
    row = _row_bytes(candidates)
    most = max(FEWEST_QUERIES, MOST_BYTES // (row * threads))
    rows = max(1, min(max(QUERIES, CACHE_BYTES // row), most, MOST_BYTES // row))
    blocks = -(-queries // rows)
    if blocks > 1:
        blocks = -(-blocks // threads) * threads
    return max(1, -(-queries // max(1, blocks)))


def _row_bytes(candidates: int) -> int:
    return 4 * max(candidates, 1)


def repeated_rows(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of vectors that an earlier one equals, and the positions of those earlier ones."""
    # Equal vectors have equal first numbers, so few have to be compared.
    first = vectors[:, 0]
    ordered = np.sort(first)
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(repeated):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    shared = np.flatnonzero(repeated[np.searchsorted(repeated[:-1], first)] == first)
    words = np.ascontiguousarray(vectors[shared] + 0).view(np.uint32)  # adding 0 makes -0.0 the same as 0.0
    factors = np.random.default_rng(0).integers(1, 1 << 63, words.shape[1], np.uint64)
    hashes = np.zeros(len(words), np.uint64)
    for column, factor in zip(words.T, factors, strict=True):
        hashes += (column + np.uint64(1)) * factor
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    originals = shared[first[inverse]]
    copied = originals != shared
    copies, originals = shared[copied], originals[copied]
    equal = (vectors[copies] == vectors[originals]).all(axis=1)
    return copies[equal], originals[equal]


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """Return the vectors divided by their lengths; one of length 0 stays 0."""
    lengths = np.sqrt(_squares(vectors))[:, None]
    return vectors / np.where(lengths == 0, 1, lengths)


def _squares(vectors: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", vectors, vectors)


def _vectors(name: str, vectors: np.ndarray) -> np.ndarray:
    """Return (n, d) floats of 32 or 64 bits."""
    array = np.asarray(vectors)
    if array.ndim != 2:
        raise ValueError(f"{name} must be (n, d) vectors; got the shape {array.shape}")
    if array.dtype != np.float64:
        array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        row = int((~np.isfinite(array)).any(axis=1).argmax())
        raise ValueError(f"{name}, row {row}: the vector has numbers that are not finite: {array[row]}")
    return array
