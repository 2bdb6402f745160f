"""A click log of any size from a known model, with the best score that any model can reach on it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kerasrec.datasets.additive import AdditiveScore, score_additive
from kerasrec.datasets.click_model import CATEGORICAL, STEP, World, to_table
from kerasrec.datasets.metrics import auc_of_counts
from kerasrec.datasets.parts import Parts
from kerasrec.files import write_aside

FILENAME = "click_log.json"
BLOCK_ROWS = 1 << 16  # rows drawn from one seed; a row does not depend on how many are written, or where
_STREAMS = {"train": 2, "valid": 3}


@dataclass(frozen=True)
class Split:
    """One part of a click log: its size, and what the true probabilities themselves score on its rows."""

    rows: int
    clicks: int
    auc_bound: float
    logloss_bound: float


@dataclass(frozen=True)
class ClickLog:
    """Where a click log lies, what is in it, and the best that a model can do on it.

    `distinct` counts the ids present in each categorical column over both splits, nulls left out. Under
    `truth/` lie the true probabilities in the rows' order, apart from the data so that no model sees them.
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
        """A glob of the held-out files."""
        return str(self.folder / "valid" / "*.parquet")

    @property
    def auc_bound(self) -> float:
        """The true probabilities' AUC on the held-out rows."""
        return self.splits["valid"].auc_bound

    @property
    def logloss_bound(self) -> float:
        """The true probabilities' log loss on the held-out rows, in nats."""
        return self.splits["valid"].logloss_bound

    def bias_baseline(self, *, ridge: float = 50.0, max_rows: int = 2_000_000) -> AdditiveScore:
        """What a model without interactions reaches on the held-out rows.

        It is a ridge logistic regression with a bias for each value of each column: ids, sets of genres,
        continuous columns cut into 64 quantiles.

        Args:
            ridge: the penalty on a bias: ridge / 2 * bias ** 2, against the sum of the rows' log losses.
            max_rows: how many training rows to read, and how many held-out ones; bounds its memory.
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
        """Open what `click_log` wrote. Raises `FileNotFoundError`, or `ValueError` naming the file."""
        path = Path(folder) / FILENAME
        if not path.exists():
            raise FileNotFoundError(f"no click log in {folder}: it would hold {FILENAME}")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            values["splits"] = {name: Split(**split) for name, split in values["splits"].items()}
            return cls(folder=Path(folder), **values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: not a click log's facts: {error!r}") from None

    def _save(self, path: Path) -> None:
        facts: dict[str, Any] = {k: v for k, v in asdict(self).items() if k != "folder"}
        path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

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
    """Write a click log to `folder/train/` and `folder/valid/` as Parquet, in memory that does not grow with it.

    Columns: `user`, `item`, `site` (codes, power laws), `device` (string), `city`, `category`, `advertiser`,
    `hour` (int64), `genres` (list of strings, sometimes empty or null), `age`, `past_clicks` (int64), `price`,
    `seconds` (float32, heavy tails), all but `item`, `advertiser` and `hour` with some nulls; and `clicked`,
    0 or 1, drawn from the true probability that `kerasrec.datasets.click_model` describes.

    The bounds are exact: log odds are multiples of 2 ** -12, so clicks and non-clicks counted per value of the
    log odds give the AUC (ties count half) and the log loss of all rows in a fixed memory.

    Args:
        folder: where to; it takes this name only when all is written.
        rows: how many, both splits together.
        seed: decides everything: the model, and the rows one block after the other.
        valid_fraction: the share of rows held out, strictly between 0 and 1; at least one row a split.
        users, items: how many ids there are to draw from; each costs a byte of memory.
        exponent: of the power law P(rank) ~ rank ** -exponent of users and items.
        rows_per_file: where one Parquet file ends and the next begins; changes no row.
        overwrite: whether a `folder` that exists is replaced.
        progress: whether to show a progress bar.

    Returns:
        A `ClickLog`; it is saved beside the data as `click_log.json`.

    Raises:
        ValueError: an argument out of its range.
        FileExistsError: `folder` exists and `overwrite` is false.

    Example:

    >>> log = click_log("log/", rows=1_000_000)
    >>> log.auc_bound, log.bias_baseline().auc
    """
    valid_rows = round(rows * valid_fraction)
    if not 0 < valid_rows < rows:
        raise ValueError(f"{rows} rows with valid_fraction={valid_fraction} leave a split empty")
    if rows_per_file < 1:
        raise ValueError(f"rows_per_file must be at least 1, not {rows_per_file}")
    world = World(seed, users, items, exponent)
    seen = {name: np.zeros(world.levels[name] + 1, bool) for name in CATEGORICAL}
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
        disable=not progress,
    )
    files = (
        FILENAME,
        *(f"{place}{split}/part-*.parquet" for place in ("", "truth/") for split in ("train", "valid")),
    )
    with write_aside(folder, overwrite=overwrite, files=files) as aside, bar:
        task = bar.add_task("click log", total=rows)
        splits = {}
        for name, size in {"train": rows - valid_rows, "valid": valid_rows}.items():
            tally = _Tally()
            with (
                Parts(aside / name, rows_per_file) as data,
                Parts(aside / "truth" / name, rows_per_file) as truth,
            ):
                for table, log_odds, clicked, ids in _blocks(world, seed, name, size):
                    data.write(table)
                    truth.write(pa.table({"true_probability": 1 / (1 + np.exp(-log_odds))}))
                    tally.add(log_odds, clicked)
                    for column, values in ids.items():
                        seen[column][values] = True
                    bar.update(task, advance=len(table))
            splits[name] = tally.split()
        distinct = {name: int(present[:-1].sum()) for name, present in seen.items()}  # the last one is null
        log = ClickLog(Path(folder), seed, users, items, exponent, splits, distinct)
        log._save(aside / FILENAME)
    return log


def _blocks(world: World, seed: int, split: str, rows: int) -> Iterator[tuple[Any, ...]]:
    """Blocks of rows in order, drawn two at a time so that one is drawn while another is written."""

    def draw(block: int) -> tuple[Any, ...]:
        rng = np.random.default_rng([seed, _STREAMS[split], block])
        drawn = world.draw(rng, BLOCK_ROWS)
        log_odds = world.log_odds(drawn)
        clicked = rng.random(BLOCK_ROWS) < 1 / (1 + np.exp(-log_odds))
        kept = min(BLOCK_ROWS, rows - block * BLOCK_ROWS)
        table = to_table(drawn, clicked, world.levels).slice(0, kept)
        return table, log_odds[:kept], clicked[:kept], {name: ids[:kept] for name, ids in drawn.ids.items()}

    with ThreadPoolExecutor(2) as pool:
        waiting = []
        for block in range(-(-rows // BLOCK_ROWS)):
            waiting.append(pool.submit(draw, block))
            if len(waiting) > 2:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


class _Tally:
    """Rows counted by the true log odds: element i is for (i - half) * STEP."""

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
