"""`kerasrec export`: a trained run as a SavedModel."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from kerasrec.cli.before_training import check_backend
from kerasrec.cli.errors import Refused
from kerasrec.cli.run_folder import MODEL, WORKFLOW


def run_export(run: Path, out: Path, overwrite: bool) -> None:
    if not run.is_dir():
        raise Refused(f"no folder {run}; kerasrec train writes one")
    missing = [name for name in (WORKFLOW, MODEL) if not (run / name).exists()]
    if missing:
        raise Refused(f"{run} is no run of kerasrec train: it has no {' and no '.join(missing)}")
    if out.exists() and not overwrite:
        raise Refused(f"{out} exists; choose another folder, or pass --overwrite")

    check_backend("a SavedModel")
    from kerasrec import etl, load_model, serving
    from kerasrec.serving.rows import raw_schema
    from kerasrec.serving.wire import wire_names
    from kerasrec.tensor_names import signature

    workflow = etl.Workflow.load(run / WORKFLOW)
    try:
        model = load_model(run / MODEL)
    except Exception as error:  # Keras has no type of its own for a file that is damaged, or of another version
        raise Refused(f"{run / MODEL} cannot be loaded: {error}") from error
    serving.export(model, out, workflow=workflow, overwrite=overwrite)
    console = Console()
    console.print(
        f"{out}/ is a SavedModel. Its serving_default takes raw rows, as kerasrec.serving.rows makes them:",
        markup=False,
        highlight=False,
    )
    tensors = signature(raw_schema(out))
    for name, (dtype, shape) in zip(wire_names(tensors).values(), tensors.values(), strict=True):
        console.print(f"  {name}: {dtype} {tuple(shape)}", markup=False, highlight=False)
