"""`kerasrec predict` of a SavedModel: predictions for raw rows, some thousands at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from rich.console import Console

from kerasrec.cli.errors import CommandError
from kerasrec.cli.import_tensorflow import import_tensorflow
from kerasrec.cli.progress import stage
from kerasrec.etl.sources.source import Source
from kerasrec.files import write_aside
from kerasrec.serving import load
from kerasrec.serving.description import Description
from kerasrec.serving.rows import raw_schema
from kerasrec.serving.served_model import ServedModel

BATCH = 8192


class Write(Protocol):
    """Appends rows to a file."""

    def __call__(self, rows: pl.DataFrame) -> object: ...


def is_saved_model(path: Path) -> bool:
    """Return whether a folder is a SavedModel rather than a run."""
    return (path / "saved_model.pb").exists()


def predict_served(path: Path, source: Source, out: Path, keep: Sequence[str], overwrite: bool) -> None:
    """Write the predictions of the SavedModel at `path` for all rows of `source` to `out`."""
    targets = list(Description.read(path).outputs)
    columns = raw_schema(path).features.names
    source.require(columns)
    prediction = {targets[0]: "prediction"} if len(targets) == 1 else {t: f"prediction_{t}" for t in targets}
    if taken := [name for name in prediction.values() if name in keep]:
        raise CommandError(f"--keep: {taken[0]!r} is the name of the predictions; rename that column in the data")
    import_tensorflow()
    served = load(path)
    if not isinstance(served, ServedModel):
        raise CommandError(
            f"{path} recommends items, with kr.serving.load(path).recommend; predict takes a model that predicts"
        )

    console = Console()
    read = list(dict.fromkeys([*columns, *keep]))
    frame = source.select(read).frame.select(read)
    with source.explain_errors():
        total = frame.select(pl.len()).collect(engine="streaming").item()
    rows, sums = 0, dict.fromkeys(targets, 0.0)
    with (
        write_aside(out, overwrite=overwrite) as aside,
        _writer(aside, out.suffix.lower()) as write,
        stage(console, "predicting", total=total) as predicting,
    ):
        for batch in _batches(source, frame):
            outputs = _outputs(served, batch, rows)
            predictions = {prediction[target]: pl.Series(outputs[target]) for target in targets}
            write(pl.DataFrame({name: batch[name] for name in keep} | predictions))
            rows += len(batch)
            sums = {target: total + float(outputs[target].sum(dtype="float64")) for target, total in sums.items()}
            predicting.advance(len(batch), f"{rows:,} rows")
    means = ", ".join(f"{prediction[t]} {value / rows:.4g}" for t, value in sums.items() if rows)
    console.print(f"{out}: {rows:,} rows" + (f"; mean of {means}" if means else ""), markup=False, highlight=False)


def _outputs(served: ServedModel, batch: pl.DataFrame, start: int) -> dict[str, np.ndarray]:
    try:
        return {target: values.ravel() for target, values in served.predict(batch).items()}
    except ValueError as error:
        if not start:
            raise
        raise CommandError(f"in the rows from {start:,} on, counted from there: {error}") from error


def _batches(source: Source, frame: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Yield rows in their order; at least one batch, which has none if there are none."""
    rows = 0
    with source.explain_errors():
        for chunk in frame.collect_batches(chunk_size=BATCH, maintain_order=True):
            for batch in chunk.iter_slices(BATCH):
                rows += len(batch)
                yield batch
        if not rows:
            yield frame.head(0).collect()


@contextmanager
def _writer(path: Path, ending: str) -> Iterator[Write]:
    """Open a new file, .csv or .parquet, to append rows to."""
    if ending == ".csv":
        with open(path, "wb") as file:
            yield lambda rows: rows.write_csv(file, include_header=file.tell() == 0)
        return
    writer: pq.ParquetWriter | None = None

    def write(rows: pl.DataFrame) -> None:
        nonlocal writer
        table = rows.to_arrow()
        writer = writer or pq.ParquetWriter(path, table.schema, write_page_checksum=True)
        writer.write_table(table)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()
