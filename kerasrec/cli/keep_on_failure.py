"""Keep a trained model if something goes wrong after training."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from kerasrec.cli.file_names import FEATURES, MODEL, WORKFLOW


@contextmanager
def keep_on_failure(model: Any, folder: Path, out: Path) -> Iterator[None]:
    """Keep the workflow and the model if the block raises, or is interrupted, after at least one training step.

    They are moved to a new folder beside `out`, or to a temporary folder if that fails; its name is printed.

    Args:
        model: a compiled model, which the block trains.
        folder: where the run is being written; the workflow is already there.
        out: the folder that the run was meant to end in.
    """
    try:
        yield
    except BaseException:
        if int(model.optimizer.iterations):
            try:
                unfinished = _keep(model, folder, out)
                message = f"{unfinished}/ contains {WORKFLOW}/ and {MODEL} as far as it was trained"
            except Exception as error:
                message = f"the trained model could not be kept: {error}"
            sys.stderr.write(f"{message}\n")
        raise


def _keep(model: Any, folder: Path, out: Path) -> Path:
    """Move the run to a name of its own and return its folder."""
    shutil.rmtree(folder / FEATURES, ignore_errors=True)  # frees space on a full disk
    try:
        if not (folder / MODEL).exists():
            model.save(folder / MODEL)
        suffixes = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
        paths = (out.with_name(f"{out.name}-unfinished{suffix}") for suffix in suffixes)
        unfinished = next(path for path in paths if not os.path.lexists(path))
        os.rename(folder, unfinished)
    except OSError:
        unfinished = Path(mkdtemp(prefix="kerasrec-unfinished-"))
        shutil.copytree(folder / WORKFLOW, unfinished / WORKFLOW)
        model.save(unfinished / MODEL)
    return unfinished
