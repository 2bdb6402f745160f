"""The batch size of a loader that is given none."""

from __future__ import annotations


def default_batch_size(rows: int, shuffle: bool) -> int:
    """Return a batch size for `rows` rows on each rank.

    To train on, shuffled rows make at least some 250 batches per epoch: a power of two from 64 to 2,048, so that a
    model learns from little data as well. Rows in order are to be evaluated or predicted, which needs no small
    batches: four times as many, at least 1,024.

    >>> [default_batch_size(rows, shuffle=True) for rows in (1, 1_000, 100_000, 1_000_000, 10**9)]
    [64, 64, 256, 2048, 2048]
    >>> [default_batch_size(rows, shuffle=False) for rows in (1, 100_000, 1_000_000, 10**9)]
    [1024, 1024, 8192, 8192]
    """
    size = min(2048, max(64, 1 << (rows // 500).bit_length()))
    return size if shuffle else max(1024, 4 * size)
