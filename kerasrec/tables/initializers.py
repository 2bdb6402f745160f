"""Initial values of table rows, drawn block by block.

A row's value is a function of the seed, the table's name and its block of rows, so it does not depend on which
rank owns the row, what it is stacked with, or how many machines there are; and no table is ever in memory twice.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Callable, Iterator

import keras
import numpy as np

from kerasrec.tables.config import TableConfig

BLOCK_ROWS = 65_536

_Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def initial_values(table: TableConfig, seed: int, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Return the initial rows [start, stop) of a table, float32 (stop - start, embedding_dim).

    Raises:
        ValueError: the table's initializer does not draw its values independently of each other.
    """
    stop = table.vocabulary_size if stop is None else stop
    out = np.empty((stop - start, table.embedding_dim), np.float32)
    for first, values in initial_blocks(table, seed, start, stop):
        out[first - start : first - start + len(values)] = values
    return out


def initial_blocks(
    table: TableConfig, seed: int, start: int = 0, stop: int | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the same rows a block at a time, each block with the number of its first row."""
    draw = _distribution(table)
    stop = table.vocabulary_size if stop is None else stop
    for block in range(start // BLOCK_ROWS, -(-stop // BLOCK_ROWS)):
        first = block * BLOCK_ROWS
        last = min(first + BLOCK_ROWS, table.vocabulary_size)
        rng = np.random.default_rng([seed, zlib.crc32(table.name.encode()), block])
        values = draw(rng, (last - first, table.embedding_dim))
        low, high = max(first, start), min(last, stop)
        yield low, values[low - first : high - first]


def shard_blocks(
    table: TableConfig, seed: int, rows: range, columns: tuple[int, int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the initial values of some rows and columns, each block with the place of its first row in `rows`."""
    local = 0
    for first, values in initial_blocks(table, seed, rows.start, rows.stop):
        skip = (rows.start - first) % rows.step
        mine = values[skip :: rows.step, slice(*columns)]
        yield local, mine
        local += len(mine)


def _distribution(table: TableConfig) -> _Draw:
    """Return the initializer as a function that draws any block of the table by itself."""
    state = random.getstate()  # a new initializer draws a seed, on which dense weights must not depend
    initializer = keras.initializers.get(table.initializer)
    random.setstate(state)
    kinds = keras.initializers
    if isinstance(initializer, kinds.RandomUniform):
        return _uniform(initializer.minval, initializer.maxval)
    if isinstance(initializer, kinds.TruncatedNormal):
        return _truncated_normal(initializer.mean, initializer.stddev)
    if isinstance(initializer, kinds.RandomNormal):
        return _normal(initializer.mean, initializer.stddev)
    if isinstance(initializer, kinds.VarianceScaling):
        return _variance_scaling(initializer, table.vocabulary_size, table.embedding_dim)
    constant = {kinds.Zeros: 0.0, kinds.Ones: 1.0}.get(type(initializer), getattr(initializer, "value", None))
    if isinstance(constant, int | float):
        return lambda rng, shape: np.full(shape, constant, np.float32)
    raise ValueError(
        f"table {table.name!r}: initializer {table.initializer!r} cannot be drawn block by block; use a uniform, "
        "normal, truncated normal, variance scaling, zeros, ones or constant initializer"
    )


def _uniform(low: float, high: float) -> _Draw:
    return lambda rng, shape: rng.random(shape, np.float32) * np.float32(high - low) + np.float32(low)


def _normal(mean: float, stddev: float) -> _Draw:
    return lambda rng, shape: rng.standard_normal(shape, np.float32) * np.float32(stddev) + np.float32(mean)


def _truncated_normal(mean: float, stddev: float) -> _Draw:
    """Draw values beyond two standard deviations again, as Keras and TensorFlow do."""

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        values = rng.standard_normal(shape, np.float32)
        while (far := np.abs(values) > 2).any():
            values[far] = rng.standard_normal(int(far.sum()), np.float32)
        return values * np.float32(stddev) + np.float32(mean)

    return draw


def _variance_scaling(initializer: keras.initializers.VarianceScaling, rows: int, width: int) -> _Draw:
    """Draw as Glorot, He and LeCun do, with the fans of the full table (in: rows, out: width), not of a block."""
    fan = {"fan_in": rows, "fan_out": width, "fan_avg": (rows + width) / 2}[initializer.mode]
    variance = initializer.scale / max(1.0, fan)
    if initializer.distribution == "uniform":
        limit = math.sqrt(3 * variance)
        return _uniform(-limit, limit)
    if initializer.distribution == "untruncated_normal":
        return _normal(0.0, math.sqrt(variance))
    # 0.8796... is the standard deviation of a standard normal truncated at two.
    return _truncated_normal(0.0, math.sqrt(variance) / 0.87962566103423978)
