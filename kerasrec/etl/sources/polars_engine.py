"""Where queries are computed: by Polars' streaming engine, or by cuDF, Polars' GPU engine.

cuDF takes a query as a whole or not at all. What it does not take, the streaming engine computes, and a warning
says why: Polars' own way back, its in-memory engine, would hold all rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import polars as pl

ENGINES = ("cpu", "gpu")


def check(engine: str) -> None:
    """Whether this process can compute on `engine`, found out by a small query.

    Raises:
        ValueError: neither "cpu" nor "gpu".
        ImportError: "gpu" without Polars' GPU engine.
        RuntimeError: "gpu" without a GPU, or with one that the engine cannot use.
    """
    if engine not in ENGINES:
        raise ValueError(f'engine must be "cpu" or "gpu", not {engine!r}')
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
    """The query's rows, computed on an engine that was checked."""
    if engine == "gpu":
        try:
            return query.collect(engine=pl.GPUEngine(raise_on_fail=True))
        except Exception as error:  # not taken, or too large; data that cannot be read fails below again
            warnings.warn(f"the CPU computes what the GPU does not: {_line(error)}", RuntimeWarning, stacklevel=2)
    return query.collect(engine="streaming")


def batches(
    query: pl.LazyFrame, engine: str, take: Callable[[pl.DataFrame], None], rows: int, *, few: bool = False
) -> None:
    """Hand the query's rows to `take`, in their order.

    Args:
        rows: how many at a time, where they do not come all at once, as they do of a GPU.
        few: whether all may be in memory at once, which takes two thirds of the time.
    """
    if engine == "gpu":
        take(collect(query, engine))
    elif few:
        take(query.collect(engine="in-memory"))
    else:
        query.sink_batches(take, chunk_size=rows, maintain_order=True, engine="streaming")


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]
