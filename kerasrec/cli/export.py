"""`kerasrec export`: write a trained run as a SavedModel."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from kerasrec.cli.errors import CommandError
from kerasrec.cli.file_names import MODEL, WORKFLOW
from kerasrec.cli.preconditions import check_backend


def run_export(run: Path, out: Path, overwrite: bool) -> None:
    """Export the model of `run` to `out`; see `kerasrec export --help`."""
    if not run.is_dir():
        raise CommandError(f"there is no folder {run}; pass a folder that kerasrec train wrote")
    missing = [name for name in (WORKFLOW, MODEL) if not (run / name).exists()]
    if missing:
        raise CommandError(f"{run} was not written by kerasrec train: it has no {' and no '.join(missing)}")
    if out.exists() and not overwrite:
        raise CommandError(f"{out} exists; choose another folder, or pass --overwrite")

    check_backend("a SavedModel")
    from kerasrec import etl, load_model, serving
    from kerasrec.serving.rows import raw_schema
    from kerasrec.serving.wire import wire_names
    from kerasrec.tensor_names import signature

    workflow = etl.Workflow.load(run / WORKFLOW)
    try:
        model = load_model(run / MODEL)
    except Exception as error:  # Keras has no error type for a damaged file, or for one of another version
        raise CommandError(f"cannot load {run / MODEL}: {error}") from error
    serving.export(model, out, workflow=workflow, overwrite=overwrite)
    console = Console()
    console.print(
        f"{out}/ is a SavedModel. Its serving_default takes raw rows, as made by kerasrec.serving.rows:",
        markup=False,
        highlight=False,
    )
    tensors = signature(raw_schema(out))
    for name, (dtype, shape) in zip(wire_names(tensors).values(), tensors.values(), strict=True):
        console.print(f"  {name}: {dtype} {tuple(shape)}", markup=False, highlight=False)
