"""The weights of rows that `--sample-weight` names: one column for all targets, or one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kerasrec.cli.errors import CommandError
from kerasrec.data.weights import weights_by_target
from kerasrec.schema import Schema


def weight_columns(given: Sequence[str], targets: Sequence[str]) -> dict[str, str]:
    """Return target -> the column with its weights, for targets that have some.

    Args:
        given: "column", for all targets, or "target=column", as the option has them.
        targets: the columns to predict.

    Raises:
        CommandError: a target has two such columns.
    """
    found: dict[str, str] = {}
    for text in given:
        named = [target for target in targets if text.startswith(f"{target}=")]
        column = text.removeprefix(f"{named[0]}=") if named else text
        for target in named[:1] or targets:
            if target in found:
                raise CommandError(
                    f"--sample-weight: {target!r} has two columns of weights, {found[target]!r} and {column!r}; "
                    "pass one column for all targets, or target=column once for each"
                )
            found[target] = column
    return found


def is_for_all(weights: Mapping[str, str], targets: Sequence[str]) -> bool:
    """Return whether all targets have the same column of weights, which is no target itself."""
    columns = set(weights.values())
    return len(columns) == 1 and set(weights) == set(targets) and not columns & set(targets)


def weights_in(schema: Schema, rows: pl.DataFrame) -> dict[str, NDArray[np.float64] | None]:
    """Return target -> the weights of rows, (rows,); None where they weigh 1.

    Args:
        schema: of the rows; its targets name their weights, or one column has the tag for all.
        rows: features with their targets and weights.
    """
    columns = weights_by_target(schema, schema.targets.names)
    return {
        target: None if column is None else rows[column].cast(pl.Float64).to_numpy()
        for target, column in columns.items()
    }
