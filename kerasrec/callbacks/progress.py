"""Report checkpoints to `kerasrec run`."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from kerasrec.parallel import comm

STATUS = "KERASREC_RUN_STATUS"


def report(folder: Path, step: int) -> None:
    """Report that the latest checkpoint in `folder` is of batch `step`, if `kerasrec run` started this process."""
    path = os.environ.get(STATUS)
    if path is None or comm.rank():
        return
    with suppress(OSError):  # it may run on another machine; its restarts are then counted without this
        aside = Path(f"{path}.new")
        aside.write_text(json.dumps({"folder": str(folder), "step": step}))
        os.replace(aside, path)
