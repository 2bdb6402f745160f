"""Raw rows to features on disk, under progress bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from kerasrec.cli.progress import Stages
from kerasrec.etl import Workflow

ROW_GROUP = 32_768  # small row groups, which a loader's shuffle mixes well


def write_features(workflow: Workflow, train: Any, valid: Any, folder: Path, stages: Stages) -> float:
    """Fit `workflow` on the training rows and write both parts to `folder/train` and `folder/valid`.

    Returns:
        Training rows a second of fitting, transforming and writing.
    """
    with stages("fitting features") as fitting:
        workflow.fit(train)
    with stages("transforming") as transforming:
        workflow.transform(train).to_parquet(folder / "train", row_group_rows=ROW_GROUP)
    rows = count_rows(folder / "train")
    transforming.say(f"{rows:,} rows")
    with stages("transforming held out"):
        workflow.transform(valid).to_parquet(folder / "valid", row_group_rows=ROW_GROUP)
    return rows / (fitting.seconds + transforming.seconds)


def count_rows(folder: Path) -> int:
    return sum(pq.read_metadata(path).num_rows for path in folder.glob("*.parquet"))
