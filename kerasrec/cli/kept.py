"""What was trained is not lost, whatever goes wrong after it."""

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

from kerasrec.cli.run_folder import FEATURES, MODEL, WORKFLOW


@contextmanager
def keeping(model: Any, folder: Path, out: Path) -> Iterator[None]:
    """Keep the workflow and the model where the block raises, or is interrupted, after a step of training: under a
    name beside `out`, or in the folder for temporary files where that cannot be written, which is printed.

    Args:
        model: a compiled model, that the block trains.
        folder: where the run is written, its workflow already.
        out: the name that the run was to get.
    """
    try:
        yield
    except BaseException:
        if int(model.optimizer.iterations):
            try:
                kept = _keep(model, folder, out)
                said = f"{kept}/ holds {WORKFLOW}/ and {MODEL} as far as it was trained"
            except Exception as error:
                said = f"the trained model could not be kept: {error}"
            sys.stderr.write(f"{said}\n")
        raise


def _keep(model: Any, folder: Path, out: Path) -> Path:
    shutil.rmtree(folder / FEATURES, ignore_errors=True)  # a full disk has room again
    try:
        if not (folder / MODEL).exists():
            model.save(folder / MODEL)
        ends = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
        names = (out.with_name(f"{out.name}-unfinished{end}") for end in ends)
        kept = next(place for place in names if not os.path.lexists(place))
        os.rename(folder, kept)
    except OSError:
        kept = Path(mkdtemp(prefix="kerasrec-unfinished-"))
        shutil.copytree(folder / WORKFLOW, kept / WORKFLOW)
        model.save(kept / MODEL)
    return kept
