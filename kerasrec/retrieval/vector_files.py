"""Vectors as Parquet, for somebody else's index or feature store: ids beside lists of numbers of one length."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from kerasrec.files import write_aside

VECTOR = "vector"
ROWS = 65_536  # per row group, at most


def write_vectors(
    path: str | os.PathLike[str], parts: Iterable[tuple[pl.Series, np.ndarray]], dim: int, overwrite: bool
) -> Path:
    """Write ids and vectors `(n, dim)` part by part, with row groups of many parts, and return the path.

    Raises:
        ValueError: there are no parts, or the column of ids has the name of that of vectors.
        FileExistsError: something is at `path`, and `overwrite` is false.
    """
    path = Path(os.path.abspath(path))
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.Table] = []
    with write_aside(path, overwrite=overwrite) as aside:
        try:
            for ids, vectors in parts:
                table = _table(ids, vectors, dim)
                writer = writer or pq.ParquetWriter(aside, table.schema)
                waiting.append(table)
                if sum(map(len, waiting)) >= ROWS:
                    writer.write_table(pa.concat_tables(waiting), row_group_size=ROWS)
                    waiting = []
            if writer is None:
                raise ValueError("there are no vectors to write: the data has no rows")
            if waiting:
                writer.write_table(pa.concat_tables(waiting), row_group_size=ROWS)
        finally:
            if writer is not None:
                writer.close()
    return path


def _table(ids: pl.Series, vectors: np.ndarray, dim: int) -> pa.Table:
    if ids.name == VECTOR:
        raise ValueError(f"the column of ids is named {VECTOR!r}, as that of vectors is; rename it in the data")
    # pyarrow shares the memory, which a loader uses again for its next batch.
    values = pa.array(np.array(vectors, np.float32).reshape(-1))
    return pa.table({ids.name: ids.to_arrow(), VECTOR: pa.FixedSizeListArray.from_arrays(values, dim)})
