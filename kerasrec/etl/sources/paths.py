"""The files of raw data that users name: by paths, folders and globs."""

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
    """Which of `ENDINGS` a file's name has."""
    return next((ending for ending in ENDINGS if name.lower().endswith(ending)), None)


def find(source: Any) -> list[Path]:
    """The data files of paths, folders and globs, in order."""
    paths = [source] if isinstance(source, str | os.PathLike) else source
    if not isinstance(paths, Sequence) or not all(isinstance(path, str | os.PathLike) for path in paths):
        raise TypeError(
            "expected a path, a glob, a list of paths, an Arrow table, a pandas or a Polars frame, "
            f"not {type(source).__name__}"
        )
    for path in paths:
        if isinstance(path, str) and "://" in path:
            shown = hide_secrets(path)
            raise ValueError(
                f"{shown}: a workflow reads addresses through Polars: pass a frame of its, "
                f'pl.scan_parquet("{shown}", storage_options=...) or pl.scan_csv'
            )
    files = [file for path in paths for file in _found(Path(path))]
    if not files:
        raise FileNotFoundError("an empty list of files")
    return files


def _found(path: Path) -> list[Path]:
    """The data files that a path, a folder or a glob names, in order."""
    if path.is_dir():
        found = [file for file in hive.files(path) if ending(file.name)]
        kinds = f"{path} holds no files that end in {', '.join(ENDINGS)}"
    else:
        found = globs.files(path)
        kinds = f"no file matches {path}"
    if not found:
        raise FileNotFoundError(kinds)
    for file in found:
        if ending(file.name) is None:
            raise SchemaError(f"{file}: the name must end in {', '.join(ENDINGS)}; otherwise pass a Polars frame")
    return found
