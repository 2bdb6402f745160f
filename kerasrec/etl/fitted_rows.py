"""Whether rows are those that a workflow was fitted on, for operators that must not show a row its own target."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from kerasrec.etl.sources import Source
from kerasrec.schema import SchemaError

BYTES, ROWS = 65_536, 128  # looked at, at each end


def fingerprint(source: Source, names: Sequence[str]) -> list[str]:
    """First one of all the rows in their order, whatever form they come in: their number, and the columns `names`
    of the first and the last ones. Then one of each file: its size, its first and its last bytes."""
    source = source.reading(names)
    place = repr((source.start, list(source.keep)))
    with source.telling():
        frame, rows = source.frame.select(names), source.rows
        if rows is None:
            rows = frame.select(pl.len()).collect(engine="streaming").item()
        ends = pl.collect_all([frame.head(ROWS), frame.tail(ROWS)], engine="streaming")
    whole = _digest(place, rows, *(end.rows() for end in ends))
    return [whole, *(_digest(place, *_ends(path)) for path, _ in source.files)]


def are_fitted(
    source: Source, names: Sequence[str], fitted_on: Sequence[str], said: bool | None, by_position: bool
) -> bool:
    """Whether the rows of `source` are those with the fingerprint `fitted_on`.

    Args:
        said: what the user says; None for nothing.
        by_position: whether it is by its position that a row is told what it must not see.

    Raises:
        SchemaError: some of the fitted files are there, but not just all of them in their order.
        ValueError: the user says that they are, but positions have changed.
    """
    if said is False:
        return False
    found = fingerprint(source, names)
    if found[0] == fitted_on[0]:
        return True
    if said and by_position:
        raise ValueError(
            f"{source.name}: these are not all of the fitted rows in their order, but the folds of TargetEncoding "
            "go by positions; give it a column that deals the folds, TargetEncoding(fold=...)"
        )
    some = [path for (path, _), one in zip(source.files, found[1:], strict=True) if one in fitted_on]
    if some and not said:
        raise SchemaError(
            f"{some[0]}: the workflow was fitted on this file, but not on just these files in this order, so "
            "it is unclear which rows TargetEncoding must keep from their own targets: transform the fitted "
            "files together and others apart; or pass fitted=False, for the values that new rows get"
        )
    return bool(said)


def _digest(*facts: Any) -> str:
    return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()


def _ends(path: Path) -> tuple[int, bytes, bytes]:
    """A file's size, its first and its last bytes; of a Parquet file, those tell of all of its columns."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(BYTES)
        file.seek(max(0, size - BYTES))
        return size, first, file.read()
