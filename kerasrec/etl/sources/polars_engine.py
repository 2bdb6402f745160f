"""Runs queries on Polars' streaming engine, or on its GPU engine, cuDF.

cuDF runs a query entirely or not at all. A query that it does not support runs on the streaming engine, and a
warning says why: Polars' own fallback, its in-memory engine, would hold all rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import polars as pl

ENGINES = ("cpu", "gpu")


def check(engine: str) -> None:
    """Check with a small query that this process can compute on `engine`.

    Raises:
        ValueError: `engine` is neither "cpu" nor "gpu".
        ImportError: "gpu" without Polars' GPU engine installed.
        RuntimeError: "gpu" without a GPU, or with one that the engine cannot use.
    """
    if engine not in ENGINES:
        raise ValueError(f'engine must be "cpu" or "gpu"; got {engine!r}')
    if engine == "cpu":
        return
    try:
        pl.LazyFrame({"x": [1]}).select(pl.col("x") + 1).collect(engine=pl.GPUEngine(raise_on_fail=True))
    except ImportError as error:
        raise ImportError(
            f'engine="gpu" needs cudf-polars ({_line(error)}): pip install "kerasrec[gpu]", or use engine="cpu"'
        ) from error
    except Exception as error:
        raise RuntimeError(
            f'engine="gpu" cannot use a GPU here ({type(error).__name__}: {_line(error)}); kerasrec[gpu] needs '
            'an NVIDIA GPU and its driver: use engine="cpu"'
        ) from error


def collect(query: pl.LazyFrame, engine: str) -> pl.DataFrame:
    """Return the query's rows, computed on an engine that `check` accepts."""
    if engine == "gpu":
        try:
            return query.collect(engine=pl.GPUEngine(raise_on_fail=True))
        except Exception as error:  # unsupported, or too large; data that cannot be read fails again below
            warnings.warn(
                f"the GPU engine does not run this query, so the CPU does: {_line(error)}",
                RuntimeWarning,
                stacklevel=2,
            )
    return query.collect(engine="streaming")


def batches(
    query: pl.LazyFrame, engine: str, take: Callable[[pl.DataFrame], None], rows: int, *, few: bool = False
) -> None:
    """Pass the query's rows to `take` in batches, in their order.

    Args:
        rows: rows per batch; the GPU engine returns all rows in one batch.
        few: whether all rows may be in memory at once, which takes two thirds of the time.
    """
    if engine == "gpu":
        take(collect(query, engine))
    elif few:
        take(query.collect(engine="in-memory"))
    else:
        query.sink_batches(take, chunk_size=rows, maintain_order=True, engine="streaming")


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]
