"""Fit a workflow and write the features of training and held-out rows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
from rich.console import Console

from kerasrec.cli.errors import flag_in_errors
from kerasrec.etl import Workflow

ROW_GROUP = 32_768  # small row groups, which a loader's shuffle mixes well


def write_features(
    workflow: Workflow,
    train: Any,
    valid: Any,
    folder: Path,
    console: Console,
    flag: str | None = None,
    stop: Any = None,
) -> float | None:
    """Fit `workflow` on the training rows and write features to `folder/train` and `folder/valid`.

    Args:
        flag: the option that named `valid`, for error messages.
        stop: rows to stop on, whose features go to `folder/stop`; None for none.

    Returns:
        Training rows per second of fitting, transforming and writing; None if there were none.
    """
    started = time.perf_counter()
    workflow.fit(train)
    fitted = time.perf_counter()
    workflow.transform(train).to_parquet(folder / "train", row_group_rows=ROW_GROUP)
    written = time.perf_counter()
    if stop is not None:
        workflow.transform(stop).to_parquet(folder / "stop", row_group_rows=ROW_GROUP)
    with flag_in_errors(flag):
        workflow.transform(valid).to_parquet(folder / "valid", row_group_rows=ROW_GROUP)
    rows = count_rows(folder / "train")
    console.print(
        f"features: {rows:,} rows fitted in {fitted - started:.1f} s, written in {written - fitted:.1f} s",
        highlight=False,
    )
    return rows_per_s(rows, written - started)


def rows_per_s(rows: int, seconds: float) -> float | None:
    """Return rows per second; None if there are no rows or no time passed."""
    return rows / seconds if rows and seconds > 0 else None


def feature_files(folder: Path) -> list[Path]:
    """Return the Parquet files of a folder of features, in the order of their rows."""
    return sorted(folder.glob("*.parquet"))


def count_rows(folder: Path) -> int:
    """Return how many rows the Parquet files of a folder have."""
    return sum(pq.read_metadata(path).num_rows for path in feature_files(folder))


def sample_rows(folder: Path, max_rows: int) -> pl.DataFrame:
    """Return the rows of a folder of features; `max_rows` at most, which are evenly spaced."""
    every = max(1, -(-count_rows(folder) // max_rows))
    return pl.scan_parquet(feature_files(folder), glob=False).gather_every(every).collect(engine="streaming")
