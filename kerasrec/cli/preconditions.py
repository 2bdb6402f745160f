"""Checks before a model is trained, so that no request fails after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from kerasrec.cli.errors import CommandError, flag_in_errors
from kerasrec.cli.guess_roles import CATEGORICAL, CONTINUOUS, TARGET, Guess
from kerasrec.cli.import_tensorflow import import_tensorflow
from kerasrec.etl.sources.source import Source


def check_valid(valid: Source, guesses: Sequence[Guess]) -> None:
    """Raise `CommandError` if held-out data lacks a column that is read, or has no rows."""
    with flag_in_errors("--valid"):
        valid.require([guess.name for guess in guesses if guess.role in (CATEGORICAL, CONTINUOUS, TARGET)])
        with valid.explain_errors():
            rows = valid.frame.select(pl.len()).collect(engine="streaming").item()
    if not rows:
        raise CommandError(f"--valid: {valid.name} has no rows")


def check_backend(exported: str | None) -> None:
    """Import TensorFlow; raise `CommandError` if it is missing, or if Keras runs on another backend.

    Args:
        exported: what is to be exported, which needs Keras on TensorFlow; None allows any backend.
    """
    try:
        import_tensorflow()
        import keras
    except ImportError as error:
        remedy = 'pip install "kerasrec[cpu]", and unset KERAS_BACKEND'
        raise CommandError(f"cannot import TensorFlow and Keras ({error}); {remedy}") from error
    if exported and keras.backend.backend() != "tensorflow":
        raise CommandError(f"{exported} needs Keras on TensorFlow; got KERAS_BACKEND={keras.backend.backend()!r}")


def check_classes(features: Path, target: str, binary: bool) -> None:
    """Raise `CommandError` if a part of the data has no rows or, for a binary target, only one class."""
    for part, name in (("train", "training"), ("valid", "held-out")):
        frame = pl.scan_parquet(sorted((features / part).glob("*.parquet")), glob=False)
        column = pl.nth(frame.collect_schema().names().index(target))
        rows, low, high = frame.select(pl.len(), low=column.min(), high=column.max()).collect().row(0)
        remedy = "pass other data, --valid or --valid-fraction"
        if not rows:
            raise CommandError(f"there are no {name} rows; {remedy}")
        if binary and low == high:
            raise CommandError(f"target {target!r} is {low:g} in all {rows:,} {name} rows; {remedy}")
