"""Criteo's display advertising log: a week of ad impressions with a click label, 13 integers and 26 hashed ids.

Criteo AI Lab publishes it at https://ailab.criteo.com/ressources/ ("Kaggle Display Advertising Challenge
dataset"): accept the terms there, download, unpack, and pass `train.txt` (11 GB, 45,840,617 rows, tabs, no
header). Samples of it circulate as CSV files with a header, `Id,Label,I1,...,I13,C1,...,C26`; both forms are read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
import pyarrow as pa

from kerasrec.datasets.power_law import Zipf, codes

INTEGERS = tuple(f"I{i}" for i in range(1, 14))
CATEGORIES = tuple(f"C{i}" for i in range(1, 27))
_CHUNK = 1 << 24  # bytes


def scan(path: str | os.PathLike[str]) -> pl.LazyFrame:
    """Open Criteo's TSV (no header) or CSV (header) as a lazy frame.

    The fields of every line are counted first, as a CSV reader silently fills short lines with nulls.

    Returns:
        A lazy frame: `label` (int64, 0 or 1), `I1` ... `I13` (int64, counts, some nulls, I2 from about -2),
        `C1` ... `C26` (strings of eight hexadecimal digits, some nulls).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an empty file, a header that lacks a column, or a line with too few or too many fields,
            naming file and line. A number that does not parse is reported by Polars when the frame is read.

    Example:

    >>> scan("train.txt").select(pl.col("label").mean()).collect()
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; see kerasrec.datasets.criteo for where to get it")
    with path.open("rb") as file:
        first = file.readline().rstrip(b"\r\n").decode("utf-8", "replace")
    if not first:
        raise ValueError(f"{path} is empty")
    header = first.lower().startswith(("id,", "label,", "label\t"))
    separator = "\t" if "\t" in first else ","
    names = [name.strip() for name in first.split(separator)] if header else ["label", *INTEGERS, *CATEGORIES]
    names = ["label" if name.lower() == "label" else name for name in names]
    missing = [name for name in ("label", *INTEGERS, *CATEGORIES) if name not in names]
    if missing:
        raise ValueError(f"{path}: the header lacks {', '.join(missing)}")
    _count_fields(path, separator, len(names))
    types: dict[str, pl.DataType | type[pl.DataType]] = dict.fromkeys(names, pl.String)
    types.update(dict.fromkeys(("label", *INTEGERS), pl.Int64))
    frame = pl.scan_csv(
        path,
        separator=separator,
        has_header=False,
        skip_rows=int(header),
        schema=types,
        quote_char=None,
        glob=False,
    )
    return frame.select("label", *INTEGERS, *CATEGORIES)


def synthetic(rows: int = 12_000, seed: int = 0) -> pl.LazyFrame:
    """Draw rows of the log's form, for trying a script without the log.

    Args:
        rows: the number of rows, all in memory.
        seed: of the rows; the click model is always the same.

    Returns:
        A lazy frame as `scan` returns it. A click depends on the integers, on single ids and on pairs of ids.

    Raises:
        ValueError: `rows` is less than 1.

    >>> kr.datasets.criteo.synthetic(1_000).select(pl.col("label").mean()).collect()
    """
    if rows < 1:
        raise ValueError(f"rows must be an integer >= 1; got {rows}")
    model, rng = np.random.default_rng(26), np.random.default_rng([seed, 13])
    logit = np.full(rows, -1.6)
    columns: dict[str, pl.Series] = {}
    for i, name in enumerate(INTEGERS):
        counts = np.floor(rng.lognormal(1 + i / 4, 1.5, rows)).astype(np.int64) - 2 * (i == 1)
        logit += model.normal(scale=0.15) * (np.log1p(np.maximum(counts, 0)) - 1 - i / 4)
        columns[name] = pl.Series(name, counts).set(pl.Series(rng.random(rows) < 0.1 * (i % 4)), None)
    hidden = []
    for i, name in enumerate(CATEGORIES):
        ranks = Zipf(8 * (1 + i % 5), 0.8)(rng.random(rows))
        logit += model.normal(scale=0.2, size=40)[ranks]
        hidden.append(model.normal(size=(40, 2))[ranks])
        words = cast(pl.Series, pl.from_arrow(codes(ranks, i).cast(pa.string()))).alias(name)
        columns[name] = words.set(pl.Series(rng.random(rows) < 0.1 * (i % 3)), None)
    logit += sum(0.7 * (a * b).sum(axis=1) for a, b in zip(hidden[0:8:2], hidden[1:8:2], strict=True))
    label = rng.random(rows) < 1 / (1 + np.exp(-logit))
    return pl.DataFrame([pl.Series("label", label.astype(np.int64)), *columns.values()]).lazy()


def _count_fields(path: Path, separator: str, expected: int) -> None:
    line, rest = 0, b""
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK)
            text = rest + chunk if chunk else rest + b"\n" * bool(rest)
            data = np.frombuffer(text, np.uint8)
            ends = np.flatnonzero(data == ord("\n"))
            before = np.searchsorted(np.flatnonzero(data == ord(separator)), ends)
            fields = np.diff(before, prepend=0) + 1
            (wrong,) = np.nonzero(fields != expected)
            if wrong.size:
                raise ValueError(
                    f"{path}, line {line + wrong[0] + 1}: {fields[wrong[0]]} fields, expected {expected}"
                )
            if not chunk:
                return
            line += len(ends)
            rest = text[ends[-1] + 1 :] if ends.size else text
