"""Whether rows are those that a workflow was fitted on, for operators that must not show a row its own target."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from kerasrec.etl.sources.source import Source
from kerasrec.schema import Column, SchemaError

BYTES, ROWS = 65_536, 128  # looked at, at each end


def fingerprint(source: Source, columns: Sequence[Column]) -> list[str]:
    """First one of all the rows in their order, whatever form they come in: their number, and the values of some
    columns in the first and the last ones. Then one of each file: its size, its first and its last bytes."""
    source = source.reading([column.name for column in columns])
    values = [source.clean(column).alias(column.name) for column in columns]
    return [_of_rows(source, values), *(_digest(_place(source), *_ends(path)) for path, _ in source.files)]


def _of_rows(source: Source, values: Sequence[pl.Expr]) -> str:
    with source.telling():
        frame, rows = source.numbered().select(values), source.rows
        if rows is None:
            rows = frame.select(pl.len()).collect(engine="streaming").item()
        ends = pl.collect_all([frame.head(ROWS), frame.tail(ROWS)], engine="streaming")
    return _digest(_place(source), rows, *(end.rows() for end in ends))


def _place(source: Source) -> str:
    return repr((source.start, list(source.keep)))


def are_fitted(
    source: Source, columns: Sequence[Column], fitted_on: Sequence[str], said: bool | None, by_position: bool
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
    found, names = fingerprint(source, columns), [column.name for column in columns]
    # Release 0.1 took values as they are in the source.
    if fitted_on[0] in (found[0], _of_rows(source.reading(names), [pl.col(name) for name in names])):
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
