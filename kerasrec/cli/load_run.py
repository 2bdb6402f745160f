"""Load what `kerasrec train` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kerasrec.cli.errors import CommandError
from kerasrec.cli.file_names import MODEL, WORKFLOW

if TYPE_CHECKING:
    from kerasrec.pipeline.pipeline import Pipeline


def check_run(run: Path) -> None:
    """Raise `CommandError` if `run` is not a folder with a workflow and a model."""
    if not run.is_dir():
        raise CommandError(f"there is no folder {run}; pass a folder that kerasrec train wrote")
    missing = [name for name in (WORKFLOW, MODEL) if not (run / name).exists()]
    if missing:
        raise CommandError(f"{run} was not written by kerasrec train: it has no {' and no '.join(missing)}")


def load_run(run: Path, trust: Sequence[str] = ()) -> Pipeline:
    """Return the workflow and the model in the folder `run`; TensorFlow and Keras must be imported already.

    Args:
        run: the folder.
        trust: modules to import first, also from the current folder: they define classes that the run needs.

    Raises:
        CommandError: the folder has no such files, or they cannot be loaded.
    """
    from kerasrec.models.registry import add_current_folder
    from kerasrec.pipeline.pipeline import Pipeline

    check_run(run)
    add_current_folder()
    try:
        return Pipeline.load(run, trust=trust)
    except Exception as error:  # Keras has no error type for a damaged file, or for one of another version
        raise CommandError(f"cannot load {run}: {error}") from error
