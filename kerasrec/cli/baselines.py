"""What can be predicted from the mean, and without interactions: a model should be better than these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kerasrec.cli.feature_files import feature_files, sample_rows
from kerasrec.cli.run_report import Baseline
from kerasrec.cli.scores import score
from kerasrec.cli.weights import weights_in
from kerasrec.datasets.additive import Additive, Column, IdLists, number_bins, quantile_edges
from kerasrec.schema import Column as SchemaColumn
from kerasrec.schema import Schema, Tag

BASE_RATE, BIASES_ONLY = "base rate", "biases only"
MAX_ROWS = 1_000_000  # training rows that the biases are fitted to
SWEEPS = 6
RIDGE = 10.0
_BATCH = 250_000

_Reader = Callable[[pl.DataFrame], Column]
Weights = NDArray[np.float64] | None


def score_baselines(train: Path, valid: Path) -> dict[str, dict[str, Baseline]]:
    """Return how well simple models, fitted to the training rows alone, predict the targets of the held-out rows.

    "base rate" predicts the mean of the target. "biases only" is an additive model, with a bias for each value of
    each categorical column and for 64 ranges of each number, and no interactions; for a binary target it is a
    logistic regression. It does not use lists of numbers, and is fitted to a million rows at most, evenly spaced.

    Args:
        train, valid: folders of features as a workflow writes them: Parquet files and `schema.json`. The schema in
            `train` says which columns are targets, features or the weights of the rows.

    Returns:
        Target -> name of the baseline -> `Baseline`, whose predictions are in the order of the held-out rows.
    """
    schema = Schema.load(train)
    sample = sample_rows(train, MAX_ROWS)
    readers = _readers(schema, sample)
    features, weights = [read(sample) for read in readers], weights_in(schema, sample)
    models = {
        target.name: _Models.fit(target, sample, features, weights[target.name]) for target in schema.targets
    }
    del sample, features

    predictions: dict[str, list[dict[str, NDArray]]] = {name: [] for name in models}
    labels: list[pl.DataFrame] = []
    for batch in _batches(valid):
        columns = [read(batch) for read in readers]
        labels.append(batch.select(schema.without(Tag.CATEGORICAL, Tag.CONTINUOUS).names))
        for name, model in models.items():
            predictions[name].append(model.predict(columns, len(batch)))
    frame = pl.concat(labels)
    weights = weights_in(schema, frame)
    return {
        target.name: _score(target, frame, predictions[target.name], weights[target.name])
        for target in schema.targets
    }


@dataclass(frozen=True)
class _Models:
    """The simple models of a target; the additive one is missing where there are no columns for it."""

    mean: float
    additive: Additive | None

    @classmethod
    def fit(
        cls, target: SchemaColumn, rows: pl.DataFrame, features: Sequence[Column], weights: Weights
    ) -> _Models:
        y = _numbers(rows[target.name])
        loss = "logistic" if Tag.BINARY in target.tags else "squared"
        one_value = len(y) == 0 or y.min() == y.max()  # the log odds of a mean of 0 or 1 are infinite
        additive = None if one_value or not features else Additive(loss, RIDGE, SWEEPS).fit(features, y, weights)
        return cls(float(np.average(y, weights=weights)) if len(y) else 0.0, additive)

    def predict(self, columns: Sequence[Column], rows: int) -> dict[str, NDArray[np.float64]]:
        predictions = {BASE_RATE: np.full(rows, self.mean)}
        if self.additive is not None:
            predictions[BIASES_ONLY] = self.additive.predict(columns)
        return predictions


def _score(
    target: SchemaColumn, rows: pl.DataFrame, parts: Sequence[dict[str, NDArray]], weights: Weights
) -> dict[str, Baseline]:
    task = "binary" if Tag.BINARY in target.tags else "regression"
    labels, baselines = _numbers(rows[target.name]), {}
    for name in parts[0]:
        predictions = np.concatenate([part[name] for part in parts])
        baselines[name] = Baseline(score(task, labels, predictions, weights), predictions)
    return baselines


# ---- rows ---------------------------------------------------------------------------------------------------
def _batches(folder: Path) -> Iterator[pl.DataFrame]:
    """Yield the rows of a folder in order."""
    for path in feature_files(folder):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH):
                yield pl.DataFrame(pl.from_arrow(batch))


def _numbers(values: pl.Series) -> NDArray[np.float64]:
    return values.cast(pl.Float64).to_numpy()


# ---- columns of the additive model --------------------------------------------------------------------------
def _readers(schema: Schema, sample: pl.DataFrame) -> list[_Reader]:
    """Return, for each feature that the additive model can use, a function that takes it out of a frame."""
    readers: list[_Reader] = []
    for column in schema.features:
        if Tag.CATEGORICAL in column.tags:
            readers.append(partial(_id_lists if column.is_list else _ids, column.name))
        elif not column.is_list:
            edges = quantile_edges(_without_nan(sample[column.name]))
            readers.append(partial(_bins, column.name, edges))
    return readers


def _ids(name: str, rows: pl.DataFrame) -> Column:
    return rows[name].to_numpy()


def _id_lists(name: str, rows: pl.DataFrame) -> Column:
    lists = rows.select(pl.nth(rows.columns.index(name)).alias("ids"))["ids"]
    lengths = lists.list.len().fill_null(0).to_numpy()
    return IdLists(lists.filter(lists.list.len() > 0).explode().to_numpy(), lengths)


def _bins(name: str, edges: NDArray[np.float64], rows: pl.DataFrame) -> Column:
    return number_bins(_without_nan(rows[name]), edges)


def _without_nan(values: pl.Series) -> pl.Series:
    return values.alias("").cast(pl.Float64).fill_nan(None)
