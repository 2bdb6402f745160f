"""Checks before a model is trained, so that no request fails after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from kerasrec.cli.errors import CommandError, flag_in_errors
from kerasrec.cli.feature_files import feature_files
from kerasrec.cli.import_tensorflow import import_tensorflow
from kerasrec.cli.roles import FEATURES, TARGET, WEIGHT, Guess
from kerasrec.cli.rows import HELD_OUT, STOP, TRAIN
from kerasrec.etl.sources.source import Source
from kerasrec.schema import Schema, Tag

_FEW = 200


def check_valid(valid: Source, guesses: Sequence[Guess]) -> None:
    """Raise `CommandError` if held-out data lacks a column that is read, or has no rows."""
    with flag_in_errors("--valid"):
        valid.require([guess.name for guess in guesses if guess.role in (*FEATURES, TARGET, WEIGHT)])
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


def check_classes(features: Path) -> None:
    """Raise `CommandError` if a part of the data has no rows or, for a binary target, only one class."""
    for part, name in ((TRAIN, "training rows"), (STOP, "rows to stop on"), (HELD_OUT, "held-out rows")):
        files = feature_files(features / part)
        if not files:
            continue
        remedy = "pass more data, --valid or another --valid-fraction"
        if part == STOP:
            remedy = "pass more data, or --patience 0 to train without such rows"
        frame, schema = pl.scan_parquet(files, glob=False), Schema.load(features / part)
        names = frame.collect_schema().names()
        if not frame.select(pl.len()).collect().item():
            raise CommandError(f"there are no {name}; {remedy}")
        for target in schema.targets:
            column = pl.nth(names.index(target.name))
            rows, low, high = frame.select(pl.len(), low=column.min(), high=column.max()).collect().row(0)
            if Tag.BINARY in target.tags and low == high:
                raise CommandError(f"target {target.name!r} is {low:g} in all {rows:,} {name}; {remedy}")


def few_rows(rows: int) -> str | None:
    """Return a warning if there are so few held-out rows that figures say little."""
    if rows >= _FEW:
        return None
    return f"Only {rows:,} rows are held out: the figures may be far from those of other rows. Use more data."
