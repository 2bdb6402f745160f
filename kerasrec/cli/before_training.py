"""What can be checked before a model is trained, so that nothing is refused after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from kerasrec.cli.errors import Refused, naming_flag
from kerasrec.cli.guess import CATEGORICAL, CONTINUOUS, TARGET, Guess
from kerasrec.cli.quiet import import_tensorflow
from kerasrec.etl.sources.source import Source


def check_valid(held: Source, guesses: Sequence[Guess]) -> None:
    """Raise `Refused` where held-out data lacks a column that is read, or has no rows."""
    with naming_flag("--valid"):
        held.require([guess.name for guess in guesses if guess.role in (CATEGORICAL, CONTINUOUS, TARGET)])
        with held.explain_errors():
            rows = held.frame.select(pl.len()).collect(engine="streaming").item()
    if not rows:
        raise Refused(f"--valid: {held.name} has no rows")


def check_backend(exported: str | None) -> None:
    """Import TensorFlow; raise `Refused` where it is missing, or Keras runs on something else and `exported`, in
    words, is to be written."""
    try:
        import_tensorflow()
        import keras
    except ImportError as error:
        install = 'pip install "kerasrec[cpu]", and unset KERAS_BACKEND'
        raise Refused(f"cannot import TensorFlow and Keras ({error}): {install}") from error
    if exported and keras.backend.backend() != "tensorflow":
        raise Refused(f"{exported} needs Keras on TensorFlow; KERAS_BACKEND is {keras.backend.backend()!r}")


def check_classes(features: Path, target: str, binary: bool) -> None:
    """Raise `Refused` where a part of the data has no rows or, of a binary target, one class only."""
    for part, said in (("train", "training"), ("valid", "held-out")):
        frame = pl.scan_parquet(sorted((features / part).glob("*.parquet")), glob=False)
        column = pl.nth(frame.collect_schema().names().index(target))
        rows, low, high = frame.select(pl.len(), low=column.min(), high=column.max()).collect().row(0)
        remedy = "pass other data, --valid or --valid-fraction"
        if not rows:
            raise Refused(f"there are no {said} rows: {remedy}")
        if binary and low == high:
            raise Refused(f"target {target!r} is {low:g} in all {rows:,} {said} rows: {remedy}")
