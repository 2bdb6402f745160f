"""Raw rows shaped like Criteo's log: a label, 13 integers with nulls, 26 strings of eight hexadecimal digits.

The columns hold as many distinct values as those of Criteo's Kaggle set (3 to 10 million), drawn from a power law
cut off at the last one, so that a million rows hold 1.1 million distinct strings in all, and longer files more.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kerasrec.datasets.power_law import Zipf, codes

VALUES = (1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992, 5461306, 10)
VALUES += (5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572)
INTEGERS = [f"I{i}" for i in range(1, 14)]
STRINGS = [f"C{i}" for i in range(1, 27)]
CHUNK = 131_072  # rows made at a time, and rows in a row group


def write(folder: Path, rows: int, files: int, cap: int = max(VALUES), processes: int = 2) -> list[Path]:
    """Write `rows` rows into so many Parquet files; no column has more than `cap` distinct values."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [(index, rows * (index + 1) // files - rows * index // files) for index in range(files)]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(partial(_write, folder, cap), parts))


def _write(folder: Path, cap: int, part: tuple[int, int]) -> Path:
    index, rows = part
    path = folder / f"raw-{index:04d}.parquet"
    rng = np.random.default_rng([7, index])
    writer = None
    for start in range(0, rows, CHUNK):
        table = _rows(rng, min(CHUNK, rows - start), cap)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="snappy")
        writer.write_table(table)
    writer.close()
    return path


def _rows(rng: np.random.Generator, rows: int, cap: int) -> pa.Table:
    columns = {"label": pa.array((rng.random(rows) < 0.25).astype("int64"))}
    for i, name in enumerate(INTEGERS):
        numbers = np.floor(rng.lognormal(1 + i / 4, 1.5, rows)).astype("int64") - 2 * (i == 1)
        columns[name] = pa.array(numbers, mask=rng.random(rows) < 0.45 * (i % 4) / 3)
    for i, (name, values) in enumerate(zip(STRINGS, VALUES, strict=True)):
        words = codes(Zipf(min(values, cap), 1.1)(rng.random(rows)), i).cast(pa.string())
        there = pa.array(rng.random(rows) >= 0.2 * (i % 3) / 2)
        columns[name] = pc.if_else(there, words, None)
    return pa.table(columns)
