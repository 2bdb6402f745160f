"""Models in a repository of Triton's: a configuration, and a folder for each version."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasrec.files import write_aside
from kerasrec.serving.description import Description
from kerasrec.serving.triton.config import MAX_ROWS, NAME, config_text

if TYPE_CHECKING:
    from kerasrec.etl.workflow import Workflow

CONFIG, SAVED_MODEL = "config.pbtxt", "model.savedmodel"
_PROGRAM = ("model.py", "request_format.py", "../grouped_call.py", "../session_call.py")


def export(
    model: Any,
    repository: str | os.PathLike[str],
    workflow: Workflow | None = None,
    *,
    name: str | None = None,
    max_rows: int = MAX_ROWS,
) -> Path:
    """Write `model`, preceded by `workflow`, as the next version of a model in a Triton repository.

    It writes `NAME/config.pbtxt`, and in `NAME/1/`, then `NAME/2/`, ..., the SavedModel and the Python files that
    answer with it, for which Triton's Python needs NumPy and TensorFlow. A version's folder gets its name in one
    rename, so a Triton that polls the repository never finds half of one. Triton serves the latest version.

    Args:
        model: what `kr.serving.export` takes, in one process; or the path of a SavedModel that it wrote.
        repository: the folder that Triton's `--model-repository` names; made if there is none.
        workflow: the fitted `Workflow` that made the features.
        name: of the model; by default the model's own, or that of the SavedModel's folder.
        max_rows: the most rows of a request; more are refused.

    Returns:
        The folder of the version.

    Raises:
        ValueError: the name is not one that a URL can have; inputs or outputs are not those of the versions that
            are there, which share a configuration; or what `kr.serving.export` raises.
        OSError: it cannot be written.
        RuntimeError: there are several ranks, or Keras does not run on TensorFlow.

    Example:

    >>> kr.serving.triton.export(model, "repository/", workflow, name="clicks")
    PosixPath('repository/clicks/1')

    and then `tritonserver --model-repository repository/ --model-control-mode poll`.
    """
    name = default_name(model) if name is None else name
    if not NAME.fullmatch(name):
        raise ValueError(f"name={name!r} is not the name of a model: use letters, digits, '_', '-' and '.'")
    folder = Path(os.path.abspath(repository)) / name
    number = max(versions(folder), default=0) + 1
    with write_aside(folder / str(number), overwrite=False) as aside:
        aside.mkdir()
        _write_saved_model(model, aside / SAVED_MODEL, workflow)
        _write_program(aside)
        _share_config(folder, config_text(name, Description.read(aside / SAVED_MODEL), max_rows=max_rows))
    return folder / str(number)


def _share_config(folder: Path, text: str) -> None:
    """Write the configuration of a model's first version, which the others must share."""
    if not versions(folder):
        _write_config(folder, text)
    elif (folder / CONFIG).read_text(encoding="utf-8") != text:
        raise ValueError(
            f"{folder} has versions of other inputs, outputs or max_rows, with which this one cannot share "
            f"{CONFIG}; pass another name="
        )


def default_name(model: Any) -> str:
    """Return a model's own name, or of a SavedModel that of its folder."""
    if isinstance(model, str | os.PathLike):
        return Path(os.path.abspath(model)).name
    return str(getattr(model, "name", None) or "model")


def _write_saved_model(model: Any, path: Path, workflow: Workflow | None) -> None:
    if isinstance(model, str | os.PathLike):
        if workflow is not None:
            raise ValueError(f"workflow= is for a model; the SavedModel {model} has one inside")
        Description.read(model)
        shutil.copytree(model, path)
        return
    from kerasrec.parallel import comm
    from kerasrec.serving.saved_model import export as export_saved_model

    if comm.size() > 1:
        raise RuntimeError(
            "on several ranks call kr.serving.export on all of them, and then "
            "kr.serving.triton.export(path, repository) on one"
        )
    export_saved_model(model, path, workflow)


def versions(folder: Path) -> list[int]:
    """Return the numbers of the versions in a model's folder."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if re.fullmatch("[1-9][0-9]*", path.name))


def write_link(
    repository: Path, name: str, saved_model: Path, *, max_rows: int = MAX_ROWS, max_requests: int
) -> None:
    """Write a model whose SavedModel stays where it is, and is loaded again whenever it is replaced there."""
    version = repository / name / "1"
    version.mkdir(parents=True)
    description = Description.read(saved_model)
    text = config_text(name, description, saved_model=saved_model, max_rows=max_rows, max_requests=max_requests)
    _write_config(version.parent, text)
    _write_program(version)


def _write_program(folder: Path) -> None:
    for name in _PROGRAM:
        shutil.copyfile(Path(__file__).parent / name, folder / Path(name).name)


def _write_config(folder: Path, text: str) -> None:
    with write_aside(folder / CONFIG) as aside:
        aside.write_text(text, encoding="utf-8")
