"""`load`: reads whatever was saved, by what is there."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import keras

from kerasrec.etl import storage
from kerasrec.etl.workflow import Workflow
from kerasrec.files.addresses import hide_secrets
from kerasrec.models.loading import load_model
from kerasrec.pipeline.pipeline import MODEL, WORKFLOW, Pipeline
from kerasrec.schema import FILENAME

if TYPE_CHECKING:
    from kerasrec.serving.served_index import ServedIndex
    from kerasrec.serving.served_model import ServedModel


def load(
    path: str | os.PathLike[str], *, trust: bool | Collection[str] = False
) -> Pipeline | keras.Model | Workflow | ServedModel | ServedIndex:
    """Load what kerasrec saved at a path.

    | at `path` | returns |
    | --- | --- |
    | the folder of a pipeline, of `Pipeline.save` or `kerasrec train` | a `Pipeline` |
    | a `.keras` file | the model, as `kr.load_model` does |
    | a SavedModel, of `kr.serving.export` | what `kr.serving.load` returns |
    | the folder of a workflow | an `etl.Workflow` |

    Args:
        path: a file or a folder.
        trust: names of modules of yours: those that define a pipeline's model, and those whose functions a
            workflow's `LambdaOp` may call, as for `Workflow.load`.

    Raises:
        FileNotFoundError: there is nothing at `path`, or only a part of a pipeline.
        ValueError: what is there is not one of these, or is damaged.

    Example:

    >>> pipeline = kr.load("run/")
    >>> pipeline.predict("new.parquet")
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is nothing at {hide_secrets(path)}")
    if path.suffix == ".keras":
        return load_model(path)
    if (path / WORKFLOW).exists() or (path / MODEL).exists():
        return Pipeline.load(path, trust=trust)
    if (path / "saved_model.pb").exists():
        from kerasrec import serving

        return serving.load(path)
    if (path / storage.FILENAME).exists():
        return Workflow.load(path, trust=trust)
    raise ValueError(
        f"{path} is neither a pipeline (a folder with {WORKFLOW}/ and {MODEL}), nor a .keras file, a SavedModel "
        f"or a workflow{_hint(path)}"
    )


def _hint(path: Path) -> str:
    if not path.is_dir():
        return ""
    if (path / FILENAME).exists():
        return "; it contains transformed rows, which kr.Loader reads"
    others = sorted(entry.name for entry in path.iterdir())
    return f"; it contains {', '.join(others[:5])}" + (" and more" if len(others) > 5 else "") if others else ""
