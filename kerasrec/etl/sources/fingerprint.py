"""Recognises the rows that a workflow was fitted on, as target encoding must not use a row's own target."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from kerasrec.etl.sources.source import Source
from kerasrec.schema import Column, SchemaError

BYTES, ROWS = 65_536, 128  # hashed at the beginning and at the end


def fingerprint(source: Source, columns: Sequence[Column]) -> list[str]:
    """Return digests: first one of all rows in their order, whatever form they come in (their number, and the
    values of some columns in the first and the last rows); then one per file (its size, its first and its last
    bytes)."""
    source = source.select([column.name for column in columns])
    values = [source.clean(column).alias(column.name) for column in columns]
    return [_rows_digest(source, values), *(_digest(_position(source), *_ends(path)) for path, _ in source.files)]


def _rows_digest(source: Source, values: Sequence[pl.Expr]) -> str:
    with source.explain_errors():
        frame, rows = source.with_row_numbers().select(values), source.rows
        if rows is None:
            rows = frame.select(pl.len()).collect(engine="streaming").item()
        ends = pl.collect_all([frame.head(ROWS), frame.tail(ROWS)], engine="streaming")
    return _digest(_position(source), rows, *(end.rows() for end in ends))


def _position(source: Source) -> str:
    return repr((source.start, list(source.filters)))


def are_fitted(
    source: Source, columns: Sequence[Column], fitted_on: Sequence[str], override: bool | None, by_position: bool
) -> bool:
    """Return whether the rows of `source` are those with the fingerprint `fitted_on`.

    Args:
        override: the user's answer, if any.
        by_position: whether a row's fold depends on its position.

    Raises:
        SchemaError: the files are some of those used in fit, but not exactly all of them in their order.
        ValueError: `override` is true, but positions have changed.
    """
    if override is False:
        return False
    digests, names = fingerprint(source, columns), [column.name for column in columns]
    # Release 0.1 hashed the values before `Source.clean`.
    if fitted_on[0] in (digests[0], _rows_digest(source.select(names), [pl.col(name) for name in names])):
        return True
    if override and by_position:
        raise ValueError(
            f"{source.name}: these are not all rows used in fit in the same order, but TargetEncoding assigns "
            "folds by row position; pass a column of fold numbers instead: TargetEncoding(fold=...)"
        )
    reused = [path for (path, _), digest in zip(source.files, digests[1:], strict=True) if digest in fitted_on]
    if reused and not override:
        raise SchemaError(
            f"{reused[0]}: some, but not all, of these files were used in fit, so out-of-fold encodings cannot be "
            "assigned. Transform all files used in fit together and in the same order, and others separately; or "
            "pass fitted=False for the encodings that new rows get"
        )
    return bool(override)


def _digest(*values: Any) -> str:
    return hashlib.blake2b(repr(values).encode(), digest_size=16).hexdigest()


def _ends(path: Path) -> tuple[int, bytes, bytes]:
    """Return a file's size, its first and its last bytes; a Parquet file's last bytes describe all its columns."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(BYTES)
        file.seek(max(0, size - BYTES))
        return size, first, file.read()
