"""Glob patterns that begin with paths of their own: `run[1]/*.parquet` matches files of the folder `run[1]`."""

from __future__ import annotations

import glob
from collections.abc import Callable
from pathlib import Path

MARKS = "*?["


def files(path: Path) -> list[Path]:
    """Return the path itself if it exists, else all that match it, in order."""
    if path.exists():
        return [path]
    pattern = escaped(path.as_posix(), lambda part: Path(part).exists())
    return sorted(map(Path, glob.glob(pattern, recursive=True)))


def escaped(pattern: str, exists: Callable[[str], bool], marks: str = MARKS) -> str:
    """Escape the longest path at the beginning of a glob pattern that exists."""
    parts = pattern.split("/")
    for end in range(len(parts), 0, -1):
        start = "/".join(parts[:end])
        if any(mark in start for mark in marks) and exists(start):
            return "/".join([glob.escape(start), *parts[end:]])
    return pattern
