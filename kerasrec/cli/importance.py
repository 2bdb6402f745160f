"""Importance of columns: how much worse a model predicts when one column is shuffled over the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kerasrec.cli.feature_files import sample_rows
from kerasrec.cli.model_outputs import by_name
from kerasrec.cli.run_report import Importance
from kerasrec.cli.scores import score
from kerasrec.cli.weights import weights_in
from kerasrec.data.loader import Loader
from kerasrec.schema import Column, Schema, Tag

MAX_ROWS = 50_000
_MAX_PREDICTIONS = 3_000_000  # over all columns and repeats; with many columns, fewer rows are used
_MIN_ROWS = 5_000
_ROWS_PER_CALL = 250_000
_BATCH = 8192

_Shuffle = tuple[str, NDArray[np.int64]]  # a column, and the rows that its values are taken from


def permutation_importance(
    model: Any, valid: Path, *, repeats: int = 5, seed: int = 0, max_rows: int = MAX_ROWS
) -> dict[str, dict[str, Importance]]:
    """Return how much each column matters to a model, by Breiman's permutation importance.

    One column at a time is shuffled over the held-out rows: what it says of the target is lost, its values stay
    the same. The score then falls by what the model draws from this column. Columns that say the same share their
    importance, so that each of them may seem to matter little. The standard error is that of the shuffles; it does
    not tell how other held-out rows would score.

    Args:
        model: a trained `kr.model`, or any that predicts from a `Loader`.
        valid: a folder of features: Parquet files and `schema.json`.
        repeats: shuffles per column, at least 2.
        seed: of the shuffles.
        max_rows: the most rows to use, evenly spaced; with many columns there are fewer, at least 5,000.

    Returns:
        Target -> feature -> `Importance`, the most important feature first. The drop is that of the AUC for a
        binary target (of 0 if the rows have one class), and the rise of the RMSE for others.

    Every rank of a job must call this; each predicts all the rows.
    """
    schema = Schema.load(valid)
    names = schema.features.names
    rows = max(_MIN_ROWS, min(max_rows, _MAX_PREDICTIONS // max(1, repeats * len(names))))
    frame = sample_rows(valid, min(rows, max_rows))
    generator = np.random.default_rng(seed)
    shuffles: list[_Shuffle] = [
        (name, generator.permutation(len(frame))) for name in names for _ in range(repeats)
    ]
    scores: dict[str, list[float]] = {target.name: [] for target in schema.targets}
    for predictions in _predict(model, frame, schema, [None, *shuffles]):
        for target in schema.targets:
            scores[target.name].append(_score(target, schema, frame, predictions[target.name]))
    return {name: _importance(names, values, repeats) for name, values in scores.items()}


def _predict(
    model: Any, frame: pl.DataFrame, schema: Schema, shuffles: Sequence[_Shuffle | None]
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield target -> predictions, (rows,), of the rows after each of the shuffles."""
    per_call = max(1, _ROWS_PER_CALL // max(1, len(frame)))
    features, targets = frame.select(schema.features.names), schema.targets.names
    for first in range(0, len(shuffles), per_call):
        frames = [_shuffled(features, shuffle) for shuffle in shuffles[first : first + per_call]]
        with TemporaryDirectory(prefix="kerasrec-importance-") as folder:
            pl.concat(frames, rechunk=True).write_parquet(Path(folder) / "part.parquet", compression="lz4")
            loader = Loader(folder, _BATCH, schema=schema.features, targets=[], rank=0, ranks=1)
            output = model.predict(loader, verbose=0)
        parts = {name: np.split(np.ravel(x), len(frames)) for name, x in by_name(output, targets).items()}
        for number in range(len(frames)):
            yield {name: values[number] for name, values in parts.items()}


def _shuffled(frame: pl.DataFrame, shuffle: _Shuffle | None) -> pl.DataFrame:
    if shuffle is None:
        return frame
    name, order = shuffle
    return frame.with_columns(frame[name].gather(order))


def _score(target: Column, schema: Schema, frame: pl.DataFrame, predictions: NDArray[Any]) -> float:
    """Return a score that is higher for better predictions: the AUC, or minus the RMSE."""
    task = "binary" if Tag.BINARY in target.tags else "regression"
    labels = frame[target.name].cast(pl.Float64).to_numpy()
    scores = score(task, labels, predictions, weights_in(schema, frame)[target.name])
    return -scores["rmse"] if task == "regression" else scores["auc"]


def _importance(names: Sequence[str], scores: Sequence[float], repeats: int) -> dict[str, Importance]:
    drops = (scores[0] - np.array(scores[1:])).reshape(len(names), repeats)
    errors = drops.std(axis=1, ddof=1) / np.sqrt(repeats)
    order = np.argsort(-drops.mean(axis=1), kind="stable")
    return {names[i]: Importance(float(drops[i].mean()), float(errors[i])) for i in order}
