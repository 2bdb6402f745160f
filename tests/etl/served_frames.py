"""What the tests of operators over several columns share: a workflow on a frame, by Polars and by TensorFlow."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal
from tensorflow_runs import run

from kerasrec import etl
from kerasrec.etl.sources.types import column_type


def transformed(workflow: etl.Workflow, frame: pl.DataFrame) -> pl.DataFrame:
    """The features of all rows, nulls and all, as new rows get them."""
    return workflow.transform(frame, targets=False, fitted=False).lazy().collect(engine="streaming")


def served(workflow: etl.Workflow, frame: pl.DataFrame) -> pl.DataFrame:
    """The same by TensorFlow; what is null there comes back as NaN in floats."""
    import tensorflow as tf

    from kerasrec.serving import rows

    wire = {name: tf.constant(array) for name, array in rows(frame, workflow).items()}
    made = run(workflow.tensorflow_module(), wire)
    columns: dict[str, Any] = {}
    for column in workflow.output_schema.features:
        if column.is_list:
            values, offsets = made[f"{column.name}__values"], made[f"{column.name}__offsets"]
            columns[column.name] = [values[a:b].tolist() for a, b in itertools.pairwise(offsets)]
        else:
            columns[column.name] = made[column.name]
    return pl.DataFrame(columns, schema={c.name: column_type(c) for c in workflow.output_schema.features})


def assert_served_as_transformed(workflow: etl.Workflow, frame: pl.DataFrame, ulps: int = 0) -> None:
    expected = transformed(workflow, frame).with_columns(pl.col(pl.Float32).fill_null(np.nan))
    # TensorFlow takes numbers too small to be normal for 0.
    limits = np.finfo(np.float32)
    assert_frame_equal(
        served(workflow, frame), expected, rel_tol=ulps * float(limits.eps), abs_tol=float(limits.tiny)
    )


def parts(rows: list[Any], cuts: list[int]) -> list[list[Any]]:
    """The rows cut at some places, and one part without rows."""
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    return [rows[a:b] for a, b in itertools.pairwise(edges)] + [[]]
