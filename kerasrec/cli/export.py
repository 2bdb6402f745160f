"""`kerasrec export`: write a trained run as a SavedModel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from kerasrec.cli.errors import CommandError
from kerasrec.cli.load_run import check_run, load_run
from kerasrec.cli.preconditions import check_backend


def run_export(run: Path, out: Path, overwrite: bool, trust: Sequence[str]) -> None:
    """Export the model of `run` to `out`; see `kerasrec export --help`."""
    check_run(run)
    if out.exists() and not overwrite:
        raise CommandError(f"{out} exists; choose another folder, or pass --overwrite")

    check_backend("a SavedModel")
    from kerasrec.serving.rows import raw_schema
    from kerasrec.serving.wire import wire_names
    from kerasrec.tensor_names import signature

    pipeline = load_run(run, trust)
    pipeline.export(out, overwrite=overwrite)
    console = Console()
    console.print(
        f"{out}/ is a SavedModel. Its serving_default takes raw rows, as made by kerasrec.serving.rows:",
        markup=False,
        highlight=False,
    )
    tensors = signature(raw_schema(out))
    for name, (dtype, shape) in zip(wire_names(tensors).values(), tensors.values(), strict=True):
        console.print(f"  {name}: {dtype} {tuple(shape)}", markup=False, highlight=False)
