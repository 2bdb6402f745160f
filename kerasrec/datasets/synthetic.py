"""A synthetic click log of any size, with the best score that any model can reach on it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kerasrec.datasets.additive import AdditiveScore, score_additive
from kerasrec.datasets.click_model import CATEGORICAL, STEP, World, to_table
from kerasrec.datasets.metrics import auc_of_counts
from kerasrec.datasets.parts import Parts
from kerasrec.files import write_aside

FILENAME = "click_log.json"
BLOCK_ROWS = 1 << 16  # rows per seed; a row does not depend on the number of rows or files
_STREAMS = {"train": 2, "valid": 3}
_FILES = (
    FILENAME,
    *(f"{parent}{split}/part-*.parquet" for parent in ("", "truth/") for split in ("train", "valid")),
)


@dataclass(frozen=True)
class Split:
    """A split of a click log: its size, and the scores of the true probabilities on its rows."""

    rows: int
    clicks: int
    auc_bound: float
    logloss_bound: float


@dataclass(frozen=True)
class ClickLog:
    """A click log on disk, and the best score that a model can reach on it.

    `distinct` has the number of distinct ids of each categorical column over both splits, without nulls. The true
    probabilities are in `truth/`, in the order of the rows, apart from the data so that no model reads them.
    """

    folder: Path
    seed: int
    users: int
    items: int
    exponent: float
    splits: dict[str, Split]
    distinct: dict[str, int]

    @property
    def train(self) -> str:
        """A glob of the training files."""
        return str(self.folder / "train" / "*.parquet")

    @property
    def valid(self) -> str:
        """A glob of the validation files."""
        return str(self.folder / "valid" / "*.parquet")

    @property
    def auc_bound(self) -> float:
        """The AUC of the true probabilities on the validation rows."""
        return self.splits["valid"].auc_bound

    @property
    def logloss_bound(self) -> float:
        """The log loss of the true probabilities on the validation rows, in nats."""
        return self.splits["valid"].logloss_bound

    def bias_baseline(self, *, ridge: float = 50.0, max_rows: int = 2_000_000) -> AdditiveScore:
        """Score a model without interactions on the validation rows.

        It is a ridge logistic regression with a bias per value of each column: ids, sets of genres, and continuous
        columns cut into 64 quantiles.

        Args:
            ridge: the penalty of a bias, ridge / 2 * bias ** 2, against the sum of the rows' log losses.
            max_rows: the most rows to read of each split, which bounds the memory.
        """
        return score_additive(
            self.train,
            self.valid,
            target="clicked",
            ids=(*CATEGORICAL, "genres"),
            numbers=("age", "price", "seconds", "past_clicks"),
            ridge=ridge,
            max_rows=max_rows,
        )

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> ClickLog:
        """Open a click log on disk. Raise `FileNotFoundError`, or `ValueError` naming the file."""
        path = Path(folder) / FILENAME
        if not path.exists():
            raise FileNotFoundError(f"no click log in {folder}: there is no {FILENAME}")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            values["splits"] = {name: Split(**split) for name, split in values["splits"].items()}
            return cls(folder=Path(folder), **values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: not the description of a click log: {error!r}") from None

    def _save(self, path: Path) -> None:
        values: dict[str, Any] = {k: v for k, v in asdict(self).items() if k != "folder"}
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    def __repr__(self) -> str:
        lines = [f"ClickLog at {self.folder} (seed {self.seed})"]
        for name, split in self.splits.items():
            rate = split.clicks / split.rows
            lines.append(
                f"  {name}  {split.rows:>13,} rows  {rate:6.1%} clicked  "
                f"bound: AUC {split.auc_bound:.4f}, log loss {split.logloss_bound:.4f}"
            )
        counts = ", ".join(f"{name} {count:,}" for name, count in self.distinct.items())
        return "\n".join([*lines, f"  {sum(self.distinct.values()):,} distinct ids: {counts}"])


def click_log(
    folder: str | os.PathLike[str],
    rows: int = 1_000_000,
    *,
    seed: int = 0,
    valid_fraction: float = 0.1,
    users: int = 300_000,
    items: int = 100_000,
    exponent: float = 1.05,
    rows_per_file: int = 1 << 20,
    overwrite: bool = False,
    progress: bool = True,
) -> ClickLog:
    """Write a click log as Parquet to `folder/train/` and `folder/valid/`; its columns are in `click_model`.

    Args:
        folder: the path to write to; it appears only when it is complete.
        rows: the number of rows of both splits.
        seed: of the model and of the rows, which are drawn block by block.
        valid_fraction: the share of validation rows, in (0, 1); each split has at least one row.
        users, items: the numbers of ids to draw from; each id takes a byte of memory.
        exponent: of the power law P(rank) ~ rank ** -exponent of users and items.
        rows_per_file: the rows of a Parquet file; it does not change the rows.
        overwrite, progress: whether to replace an existing `folder`; whether to show a progress bar.

    Returns:
        The `ClickLog`, also saved in the folder as `click_log.json`.

    Raises:
        ValueError: an argument is out of range.
        FileExistsError: `folder` exists and `overwrite` is false.

    >>> log = click_log("log/", rows=1_000_000)
    >>> log.auc_bound, log.bias_baseline().auc
    """
    if rows_per_file < 1:
        raise ValueError(f"rows_per_file must be an integer >= 1; got {rows_per_file}")
    sizes = _split_sizes(rows, valid_fraction)
    world = World(seed, users, items, exponent)
    present = {name: np.zeros(world.levels[name] + 1, bool) for name in CATEGORICAL}
    with write_aside(folder, overwrite=overwrite, files=_FILES) as aside, _bar(rows, progress) as advance:
        splits = {
            name: _write_split(aside, name, _blocks(world, seed, name, size), rows_per_file, present, advance)
            for name, size in sizes.items()
        }
        distinct = {name: int(ids[:-1].sum()) for name, ids in present.items()}  # the last one is null
        log = ClickLog(Path(folder), seed, users, items, exponent, splits, distinct)
        log._save(aside / FILENAME)
    return log


def clicks(
    rows: int = 10_000, *, seed: int = 0, users: int = 1_000, items: int = 500, exponent: float = 1.05
) -> pl.DataFrame:
    """Return rows of a small click log, in memory.

    Args:
        rows: the number of rows.
        seed, users, items, exponent: as for `click_log`; with these few ids thousands of rows are enough to learn.

    Returns:
        A Polars frame with the columns of the click log: strings, numbers, a list column, nulls, and `clicked`.

    Raises:
        ValueError: an argument is out of range.

    >>> train, new = kr.datasets.clicks(20_000), kr.datasets.clicks(2_000, seed=1)
    """
    if rows < 1:
        raise ValueError(f"rows must be an integer >= 1; got {rows}")
    # One model for every seed, so that what is learned on one frame holds on another.
    blocks = _blocks(World(0, users, items, exponent), seed, "train", rows)
    frame = cast(pl.DataFrame, pl.from_arrow(pa.concat_tables(block.table for block in blocks)))
    return frame.with_columns(pl.col(pl.Categorical).cast(pl.String))


def _split_sizes(rows: int, valid_fraction: float) -> dict[str, int]:
    valid_rows = round(rows * valid_fraction)
    if not 0 < valid_rows < rows:
        raise ValueError(f"{rows} rows with valid_fraction={valid_fraction} leave a split empty; pass more rows")
    return {"train": rows - valid_rows, "valid": valid_rows}


@contextmanager
def _bar(rows: int, show: bool) -> Iterator[Callable[[int], None]]:
    """Show a progress bar; yield a function to call with each number of rows written."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
        disable=not show,
    )
    with bar:
        task = bar.add_task("click log", total=rows)
        yield lambda count: bar.update(task, advance=count)


def _write_split(
    folder: Path,
    name: str,
    blocks: Iterator[_Block],
    rows_per_file: int,
    present: dict[str, NDArray[np.bool_]],
    advance: Callable[[int], None],
) -> Split:
    """Write the rows of a split and their true probabilities; mark their ids in `present`.

    The bounds are exact: log odds are multiples of 2 ** -12, so counts of clicks and of other rows per value of
    the log odds give the AUC (ties count half) and the log loss of all rows in constant memory.
    """
    tally = _Tally()
    with Parts(folder / name, rows_per_file) as data, Parts(folder / "truth" / name, rows_per_file) as truth:
        for block in blocks:
            data.write(block.table)
            truth.write(pa.table({"true_probability": 1 / (1 + np.exp(-block.log_odds))}))
            tally.add(block.log_odds, block.clicked)
            for column, ids in block.ids.items():
                present[column][ids] = True
            advance(len(block.table))
    return tally.split()


@dataclass(frozen=True)
class _Block:
    """Consecutive rows: as a table, with their true log odds, clicks and ids."""

    table: pa.Table
    log_odds: NDArray[np.float64]
    clicked: NDArray[np.bool_]
    ids: dict[str, NDArray[np.int64]]


def _blocks(world: World, seed: int, split: str, rows: int) -> Iterator[_Block]:
    """Yield the rows of a split in blocks; the next ones are drawn by threads while one is written."""

    def draw(index: int) -> _Block:
        rng = np.random.default_rng([seed, _STREAMS[split], index])
        drawn = world.draw(rng, BLOCK_ROWS)
        log_odds = world.log_odds(drawn)
        clicked = rng.random(BLOCK_ROWS) < 1 / (1 + np.exp(-log_odds))
        size = min(BLOCK_ROWS, rows - index * BLOCK_ROWS)
        table = to_table(drawn, clicked, world.levels).slice(0, size)
        return _Block(
            table, log_odds[:size], clicked[:size], {name: ids[:size] for name, ids in drawn.ids.items()}
        )

    with ThreadPoolExecutor(2) as pool:
        pending: list[Future[_Block]] = []
        for index in range(-(-rows // BLOCK_ROWS)):
            pending.append(pool.submit(draw, index))
            if len(pending) > 2:
                yield pending.pop(0).result()
        for future in pending:
            yield future.result()


class _Tally:
    """Counts rows by their true log odds: element i counts those with (i - half) * STEP."""

    def __init__(self) -> None:
        self._half = round(12 / STEP)
        self._counts = np.zeros((2, 2 * self._half + 1), np.int64)

    def add(self, log_odds: NDArray[np.float64], clicked: NDArray[np.bool_]) -> None:
        level = np.rint(log_odds / STEP).astype(np.int64) + self._half
        for outcome in (0, 1):
            self._counts[outcome] += np.bincount(level[clicked == outcome], minlength=self._counts.shape[1])

    def split(self) -> Split:
        negatives, positives = self._counts
        log_odds = (np.arange(len(positives)) - self._half) * STEP
        loss = positives @ np.logaddexp(0, -log_odds) + negatives @ np.logaddexp(0, log_odds)
        rows = int(self._counts.sum())
        return Split(rows, int(positives.sum()), auc_of_counts(positives, negatives), float(loss / rows))
