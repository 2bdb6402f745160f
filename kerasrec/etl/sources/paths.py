"""Finds the raw data files that paths, folders and globs name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kerasrec import hive
from kerasrec.files import globs
from kerasrec.files.addresses import hide_secrets
from kerasrec.schema import SchemaError

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".csv.zst", ".tsv.zst")
ENDINGS = PARQUET + CSV


def ending(name: str) -> str | None:
    """Return which of `ENDINGS` a file's name has; None for another."""
    return next((ending for ending in ENDINGS if name.lower().endswith(ending)), None)


def find(source: Any) -> list[Path]:
    """Return the data files of paths, folders and globs, in order."""
    paths = [source] if isinstance(source, str | os.PathLike) else source
    if not isinstance(paths, Sequence) or not all(isinstance(path, str | os.PathLike) for path in paths):
        raise TypeError(
            "source must be a path, a glob, a list of paths, a Polars, pandas or Arrow frame, a list of dicts, or "
            f"a dict of columns; got {_kind(paths)}"
        )
    for path in paths:
        if isinstance(path, str) and "://" in path:
            shown = hide_secrets(path)
            raise ValueError(
                f"{shown}: a workflow reads URLs through Polars: pass "
                f'pl.scan_parquet("{shown}", storage_options=...) or pl.scan_csv(...)'
            )
    files = [file for path in paths for file in _matches(Path(path))]
    if not files:
        raise FileNotFoundError("source is an empty list of files; pass at least one path")
    return files


def _kind(source: Any) -> str:
    """Return the name of a source's type, with that of its first element that is not a path."""
    name = type(source).__name__
    if not isinstance(source, Sequence):
        return name
    other = next((element for element in source if not isinstance(element, str | os.PathLike)), None)
    return f"{name} with {type(other).__name__}"


def _matches(path: Path) -> list[Path]:
    """Return the data files that a path, a folder or a glob names, in order."""
    if path.is_dir():
        files = [file for file in hive.files(path) if ending(file.name)]
        problem = f"no files in {path} end in {', '.join(ENDINGS)}"
    else:
        files = globs.files(path)
        problem = f"no file matches {path}"
    if not files:
        raise FileNotFoundError(problem)
    for file in files:
        if ending(file.name) is None:
            raise SchemaError(f"{file}: the name must end in {', '.join(ENDINGS)}; or pass a Polars frame")
    return files
