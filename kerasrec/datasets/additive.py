"""Additive models: an intercept and a bias per value of each column, without interactions.

They are a baseline for recommenders: on rating data it is the user + item bias model (Koren, Bell, Volinsky,
"Matrix Factorization Techniques for Recommender Systems", IEEE Computer 2009, eq. 4), and with the logistic loss
a ridge logistic regression on one-hot ids. The gain over this is what embeddings are worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from kerasrec.datasets import metrics
from kerasrec.files import globs


@dataclass(frozen=True)
class AdditiveScore:
    """AUC and log loss of an additive model on validation rows."""

    auc: float
    logloss: float


class IdLists:
    """A column of lists of ids; what a row gets from it is the mean over the ids of its list, 0 for an empty one.

    Args:
        values: the ids of all rows, one after another.
        lengths: the number of ids of each row, (rows,).
    """

    def __init__(self, values: ArrayLike, lengths: ArrayLike):
        self.values, counts = np.asarray(values), np.asarray(lengths)
        self.num_rows = len(counts)
        self.rows = np.repeat(np.arange(len(counts)), counts)
        self.shares = 1 / counts[self.rows]

    def __len__(self) -> int:
        return self.num_rows


Column = ArrayLike | IdLists


class Additive:
    """An additive model fitted by block Newton steps: all biases of a column at once, one column after another.

    With the squared loss the prediction is the sum; with the logistic loss it is the sum's sigmoid. It minimises

        sum over rows of loss + sum over columns c of ridge_c / 2 * sum of squared biases of c

    where loss is half the squared error or the log loss. A row has one id per column, so the
    Hessian of a column is diagonal and a step takes two `bincount`s. For a column of lists, `IdLists`, a diagonal
    matrix that is not less takes its place, which makes the step shorter. The intercept has no penalty.

    Args:
        loss: "logistic" (targets 0 or 1) or "squared".
        ridge: the penalty > 0, one number or one per column, in units of rows.
        sweeps: the number of passes through the columns.

    Raises:
        ValueError: an unknown loss, or a ridge that is not > 0.

    Example:

    >>> model = Additive("squared", ridge=[10.0, 5.0]).fit([user, item], rating)
    >>> model.predict([test_user, test_item])
    """

    def __init__(self, loss: str = "logistic", ridge: float | Sequence[float] = 10.0, sweeps: int = 10):
        if loss not in ("logistic", "squared"):
            raise ValueError(f"loss must be 'logistic' or 'squared'; got {loss!r}")
        if np.min(ridge) <= 0:
            raise ValueError(f"ridge must be > 0; got {ridge!r}")
        self.loss, self.ridge, self.sweeps = loss, ridge, sweeps
        self.intercept = 0.0
        self.biases: list[NDArray[np.float64]] = []

    def fit(self, columns: Sequence[Column], targets: ArrayLike, weights: ArrayLike | None = None) -> Additive:
        """Fit to columns of ids >= 0, each (rows,) or `IdLists`, and targets (rows,).

        Args:
            columns: at least one.
            targets: numbers, or 0 and 1 for the logistic loss.
            weights: of the rows in the loss, >= 0, (rows,); by default 1.
        """
        y = np.asarray(targets, np.float64)
        w = np.ones_like(y) if weights is None else np.asarray(weights, np.float64)
        ids = [column if isinstance(column, IdLists) else np.asarray(column) for column in columns]
        ridges = np.broadcast_to(np.asarray(self.ridge, np.float64), len(ids))
        self.biases = [np.zeros(_size(column)) for column in ids]
        mean = np.average(y, weights=w)
        self.intercept = float(np.log(mean / (1 - mean)) if self.loss == "logistic" else mean)
        total = np.full(len(y), self.intercept)
        for _ in range(self.sweeps):
            for column, ridge, bias in zip(ids, ridges, self.biases, strict=True):
                slope, curvature = (w * derivative for derivative in self._derivatives(total, y))
                gradient = _sum_by_id(column, slope, len(bias)) - ridge * bias
                hessian = _sum_by_id(column, curvature, len(bias))
                share = hessian / (hessian + ridge)
                # The intercept moves along with each column, as separate steps would converge slowly.
                shift = (slope.sum() - share @ gradient) / (curvature.sum() - hessian @ share)
                step = (gradient - hessian * shift) / (hessian + ridge)
                self.intercept += float(shift)
                bias += step
                total += shift + _by_row(column, step)
        return self

    def _derivatives(self, total: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
        """Return the loss's negative gradient and its curvature with respect to each row's sum."""
        if self.loss == "squared":
            return y - total, np.ones_like(y)
        p = 1 / (1 + np.exp(-total))
        return y - p, p * (1 - p)

    def predict(self, columns: Sequence[Column]) -> NDArray[np.float64]:
        """Return predictions (rows,); a negative or unseen id contributes 0."""
        first = columns[0]
        total = np.full(len(first if isinstance(first, IdLists) else np.asarray(first)), self.intercept)
        for column, bias in zip(columns, self.biases, strict=True):
            total += _by_row(column if isinstance(column, IdLists) else np.asarray(column), bias)
        return total if self.loss == "squared" else 1 / (1 + np.exp(-total))


def _size(column: NDArray | IdLists) -> int:
    values = column.values if isinstance(column, IdLists) else column
    return int(values.max()) + 1 if len(values) else 0


def _sum_by_id(column: NDArray | IdLists, x: NDArray, size: int) -> NDArray[np.float64]:
    """Return the sum of `x` over the rows of each id; a row of a list is shared among its ids."""
    if isinstance(column, IdLists):
        return _sums(column.values, x[column.rows] * column.shares, size)
    return _sums(column, x, size)


def _by_row(column: NDArray | IdLists, bias: NDArray) -> NDArray[np.float64]:
    """Return the bias of each row's id, or the mean of its list's; a negative or unseen id has 0."""
    ids = column.values if isinstance(column, IdLists) else column
    of_ids = np.append(bias, 0.0)[np.where((ids < 0) | (ids >= len(bias)), len(bias), ids)]
    if isinstance(column, IdLists):
        return _sums(column.rows, of_ids * column.shares, len(column))
    return of_ids


def _sums(ids: NDArray, x: NDArray, size: int) -> NDArray[np.float64]:
    return np.bincount(ids, x, size).astype(np.float64, copy=False)


def number_ids(train: pl.Series, *others: pl.Series) -> list[NDArray[np.int64]]:
    """Number values 0, 1, ...; null and each list count as values; values that `train` does not have get -1."""
    columns = [train, *others]
    if isinstance(train.dtype, pl.List):
        columns = [s.cast(pl.List(pl.String)).list.join(",") for s in columns]
    known = columns[0].unique().to_frame("value").with_row_index("id")
    return [
        s.to_frame("value")
        .join(known, on="value", how="left", nulls_equal=True, maintain_order="left")["id"]
        .cast(pl.Int64)
        .fill_null(-1)
        .to_numpy()
        for s in columns
    ]


def number_quantiles(train: pl.Series, *others: pl.Series, bins: int = 64) -> list[NDArray[np.int64]]:
    """Replace numbers by their quantile bin in `train`, with bin 0 for null."""
    edges = quantile_edges(train, bins)
    return [number_bins(s, edges) for s in (train, *others)]


def quantile_edges(values: pl.Series, bins: int = 64) -> NDArray[np.float64]:
    """Return the numbers that part values into `bins` of about equally many rows; fewer where values repeat."""
    known = values.drop_nulls().to_numpy()
    return np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1])) if len(known) else np.empty(0)


def number_bins(values: pl.Series, edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each number, 1 + the number of edges that are not above it; bin 0 for null."""
    bins = 1 + np.searchsorted(edges, values.fill_null(0).to_numpy(), side="right")
    return np.where(values.is_null(), 0, bins)


def score_additive(
    train: str,
    valid: str,
    *,
    target: str,
    ids: Sequence[str],
    numbers: Sequence[str] = (),
    ridge: float = 10.0,
    max_rows: int = 2_000_000,
) -> AdditiveScore:
    """Fit a logistic additive model to Parquet files and score it on others.

    Args:
        train, valid: paths or globs.
        target: the column of 0s and 1s.
        ids: columns with a bias per value; nulls and lists are values.
        numbers: columns with a bias per quantile, of 64.
        ridge: as in `Additive`.
        max_rows: the most rows to read of each, from the start.
    """
    columns = [*ids, *numbers, target]
    files = [globs.files(Path(path)) for path in (train, valid)]
    a, b = (pl.scan_parquet(paths, glob=False).select(columns).head(max_rows).collect() for paths in files)
    pairs = [number_ids(a[name], b[name]) for name in ids]
    pairs += [number_quantiles(a[name], b[name]) for name in numbers]
    model = Additive("logistic", ridge).fit([pair[0] for pair in pairs], a[target])
    predicted = model.predict([pair[1] for pair in pairs])
    return AdditiveScore(metrics.auc(b[target], predicted), metrics.log_loss(b[target], predicted))
