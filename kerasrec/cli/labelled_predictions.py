"""Predictions of a run for rows whose targets are known, beside these, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console

from kerasrec.cli.feature_files import ROW_GROUP, count_rows, feature_files
from kerasrec.cli.model_outputs import by_name
from kerasrec.cli.progress import stage
from kerasrec.etl import Workflow
from kerasrec.etl.sources.source import Source
from kerasrec.pipeline.features import Features
from kerasrec.pipeline.pipeline import Pipeline
from kerasrec.schema import Schema, Tag

BATCH = 8192


@dataclass(frozen=True)
class LabelledPredictions:
    """What a run predicts for rows.

    Args:
        schema: of the workflow's output.
        categorical: names of the raw columns that are ids.
        values: target -> predictions, float32 (rows,), in the order of the rows.
        labels: the targets and weights of the rows.
    """

    schema: Schema
    categorical: Sequence[str]
    values: Mapping[str, NDArray[np.float32]]
    labels: pl.DataFrame

    @property
    def targets(self) -> Schema:
        """The columns that the model predicts."""
        return self.schema.targets

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.labels)


def predict_labelled(pipeline: Pipeline, data: Source, console: Console) -> LabelledPredictions:
    """Return the predictions for raw rows; in memory are 4 bytes per row and target, the labels, and a batch.

    Args:
        pipeline: as `load_run` returns it.
        data: raw rows with their targets; further columns are not read.
        console: to show progress on.
    """
    workflow = pipeline.workflow
    schema = workflow.output_schema
    with TemporaryDirectory(prefix="kerasrec-evaluate-") as temporary:
        folder = Path(temporary) / "features"
        with stage(console, "features"):
            workflow.transform(data).to_parquet(folder, row_group_rows=ROW_GROUP)
        values = _predict(pipeline, folder, schema, count_rows(folder), console)
        names = [*schema.targets.names, *schema.select(Tag.WEIGHT).names]
        labels = pl.scan_parquet(feature_files(folder), glob=False).select(names).collect(engine="streaming")
    return LabelledPredictions(schema, _raw_ids(workflow), values, labels)


def _predict(
    pipeline: Pipeline, folder: Path, schema: Schema, rows: int, console: Console
) -> dict[str, NDArray[np.float32]]:
    targets, model = schema.targets.names, pipeline.model
    if not rows or model is None:
        return {name: np.empty(0, np.float32) for name in targets}
    with stage(console, "predicting", total=rows) as predicting:
        progress = keras.callbacks.LambdaCallback(
            on_predict_batch_end=lambda batch, logs: predicting.advance(BATCH)
        )
        loader = Features(folder, schema).loader(model, BATCH, targets=[], rank=0, ranks=1)
        output = model.predict(loader, verbose=0, callbacks=[progress])
        predicting.show(f"{rows:,} rows")
    return {name: np.ravel(values) for name, values in by_name(output, targets).items()}


def _raw_ids(workflow: Workflow) -> list[str]:
    """Return the raw columns of a workflow that become ids."""
    features = workflow.output_schema.features.categorical.names
    return [column.name for column in workflow.raw_columns(features) if not column.dtype.startswith("float")]
