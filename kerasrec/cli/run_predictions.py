"""Predict raw rows with the model of a run, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console

from kerasrec.cli.errors import CommandError
from kerasrec.cli.feature_files import ROW_GROUP, count_rows, feature_files
from kerasrec.cli.progress import stage
from kerasrec.etl import Workflow
from kerasrec.schema import Schema, Tag

BATCH = 8192


@dataclass(frozen=True)
class Predictions:
    """What a run predicts for rows.

    Args:
        targets: columns of the workflow's output.
        categorical: names of the raw columns that are ids.
        values: target -> predictions, float32 (rows,), in the order of the rows.
        labels: the targets and weights of the rows, if they were asked for.
    """

    targets: Schema
    categorical: Sequence[str]
    values: Mapping[str, NDArray[np.float32]]
    labels: pl.DataFrame

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.values.values())))


def predict_rows(workflow: Workflow, model: Any, data: str, *, labels: bool, console: Console) -> Predictions:
    """Return a model's predictions for raw rows; what is in memory is 4 bytes per row and target, and a batch.

    Args:
        workflow, model: as `load_run` returns them.
        data: Parquet or CSV files of raw rows; further columns are not read.
        labels: whether to read targets and weights, too. Without, no row is dropped or added.
        console: to show progress on.
    """
    targets = workflow.output_schema.targets
    with TemporaryDirectory(prefix="kerasrec-predict-") as temporary:
        folder = Path(temporary)
        with stage(console, "features"):
            workflow.transform(data, targets=labels).to_parquet(folder / "features", row_group_rows=ROW_GROUP)
        rows = count_rows(folder / "features")
        values = _predict(model, folder / "features", targets.names, rows, console)
        names = [*targets.names, *workflow.output_schema.select(Tag.WEIGHT).names] if labels else []
        read = pl.scan_parquet(feature_files(folder / "features"), glob=False).select(names) if names else None
        frame = pl.DataFrame() if read is None else read.collect(engine="streaming")
    return Predictions(targets, _raw_ids(workflow), values, frame)


def _raw_ids(workflow: Workflow) -> list[str]:
    """Return the raw columns of a workflow that become ids."""
    features = workflow.output_schema.features.categorical.names
    return [column.name for column in workflow.raw_columns(features) if not column.dtype.startswith("float")]


def _predict(
    model: Any, folder: Path, targets: Sequence[str], rows: int, console: Console
) -> dict[str, NDArray[np.float32]]:
    import keras

    from kerasrec.data.loader import Loader

    if not rows:
        return {name: np.empty(0, np.float32) for name in targets}
    with stage(console, "predicting", total=rows) as predicting:
        progress = keras.callbacks.LambdaCallback(
            on_predict_batch_end=lambda batch, logs: predicting.advance(BATCH)
        )
        loader = Loader(folder, BATCH, targets=[], rank=0, ranks=1)
        output = model.predict(loader, verbose=0, callbacks=[progress])
        predicting.show(f"{rows:,} rows")
    by_target = by_name(output, targets)
    return {name: np.ravel(values) for name, values in by_target.items()}


def by_name(output: Any, targets: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return target -> predictions of what `model.predict` returns for one target or several.

    Raises:
        CommandError: the model does not predict the workflow's targets.
    """
    named = output if isinstance(output, dict) else dict.fromkeys(targets[:1], output)
    if sorted(named) != sorted(targets):
        raise CommandError(
            f"the model predicts {', '.join(named) or 'one target'}, but the workflow has the targets "
            f"{', '.join(targets) or 'none'}; pass a folder in which both were saved by one training run"
        )
    return {name: named[name] for name in targets}
