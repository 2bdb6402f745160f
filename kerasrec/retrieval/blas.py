"""How many threads NumPy's products of matrices take."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

_limiting = threading.Lock()


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def blas_threads() -> int:
    """Return how many threads a product takes now; 2 where that is not known, as with Apple's Accelerate."""
    return max((library["num_threads"] for library in _blas().info()), default=2)


@contextmanager
def one_product_per_thread(threads: int) -> Iterator[None]:
    """Have each product take so many threads, while several threads compute products.

    Otherwise they would wait for each other's, which on a busy machine takes several times as long. The number
    counts for the whole process, so only the first of several that overlap changes it.
    """
    if not _limiting.acquire(blocking=False):
        yield
        return
    try:
        with _blas().limit(limits=threads):
            yield
    finally:
        _limiting.release()
