"""`kerasrec predict`: predictions of a run or a SavedModel for raw rows, in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console

from kerasrec.cli.errors import CommandError, did_you_mean
from kerasrec.cli.load_run import check_run, load_run
from kerasrec.cli.model_outputs import by_name
from kerasrec.cli.preconditions import check_backend
from kerasrec.cli.predict_served import is_saved_model, predict_served
from kerasrec.cli.progress import stage
from kerasrec.etl.sources.scan import scan
from kerasrec.etl.sources.source import Source
from kerasrec.files import write_aside

ENDINGS = (".parquet", ".csv")


def run_predict(
    run: Path, data: str, out: Path, keep: Sequence[str], overwrite: bool, trust: Sequence[str]
) -> None:
    """Write the predictions for `data` to `out`; see `kerasrec predict --help`."""
    saved_model = is_saved_model(run)
    if not saved_model:
        check_run(run)
    if out.suffix.lower() not in ENDINGS:
        raise CommandError(f"--out: {out} must end in .parquet or .csv")
    if out.exists() and not overwrite:
        raise CommandError(f"{out} exists; choose another --out, or pass --overwrite")
    source = scan(data)
    _check_kept(source, keep, out)
    if saved_model:
        predict_served(run, source, out, keep, overwrite)
        return
    check_backend(None)

    pipeline = load_run(run, trust)
    targets = pipeline.workflow.output_schema.targets.names
    names = column_names(targets)
    if taken := [name for name in names.values() if name in keep]:
        raise CommandError(f"--keep: {taken[0]!r} is the name of the predictions; rename that column in the data")
    console = Console()
    with stage(console, "predicting") as predicting:
        outputs = by_name(pipeline.predict(data), targets)
        columns = {names[target]: np.ravel(values) for target, values in outputs.items()}
        rows = len(next(iter(columns.values())))
        predicting.show(f"{rows:,} rows")
    with write_aside(out, overwrite=overwrite) as temporary:
        kept = source.select(keep).frame.select(keep) if keep else None
        _write(temporary, out.suffix.lower(), kept, columns)
    means = ", ".join(f"{name} {values.mean():.4g}" for name, values in columns.items() if rows)
    console.print(f"{out}: {rows:,} rows" + (f"; mean of {means}" if means else ""), markup=False, highlight=False)


def column_names(targets: Sequence[str]) -> dict[str, str]:
    """Return target -> the name of its predictions: "prediction", or of several targets "prediction_TARGET"."""
    if len(targets) == 1:
        return {targets[0]: "prediction"}
    return {target: f"prediction_{target}" for target in targets}


def _check_kept(source: Source, keep: Sequence[str], out: Path) -> None:
    for name in keep:
        if name not in source.columns.names:
            raise CommandError(
                f"--keep: no column {name!r} in {source.name}{did_you_mean(name, source.columns.names)}"
            )
        if out.suffix.lower() == ".csv" and source.types[name].is_nested():
            raise CommandError(f"--keep: {name!r} is {source.types[name]}, which CSV cannot express; use .parquet")


def _write(path: Path, ending: str, kept: pl.LazyFrame | None, columns: Mapping[str, NDArray[np.float32]]) -> None:
    """Write kept columns, if any, and beside them `columns`; rows are read and written a few at a time."""
    predictions = pl.LazyFrame(dict(columns))
    if kept is None:
        rows = predictions
    else:
        counts = [frame.select(pl.len()).collect(engine="streaming").item() for frame in (kept, predictions)]
        if counts[0] != counts[1]:
            raise CommandError(f"the data changed while it was read: {counts[1]:,} rows, and then {counts[0]:,}")
        rows = pl.concat([kept, predictions], how="horizontal")
    if ending == ".csv":
        rows.sink_csv(path, maintain_order=True)
    else:
        rows.sink_parquet(path, maintain_order=True)
