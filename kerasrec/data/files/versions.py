"""Whether a file is what was written, and still the one whose footer was read: no pass mixes two data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from kerasrec.data.files.discovery import Place
from kerasrec.data.files.in_memory import InMemory
from kerasrec.data.files.remote import Remote
from kerasrec.files.versions import GONE, Version, what_changed
from kerasrec.parquet.footers import read_footer
from kerasrec.parquet.pages import check_pages

# Of a local file; of a remote one, those entries of its store's listing that change with the file.
FileVersion: TypeAlias = Version | dict[str, str]

# The entries by which stores identify a version of a file; each store has its own.
_IDENTIFYING = (
    "size",
    "etag",
    "mtime",
    "lastmodified",
    "updated",
    "created",
    "generation",
    "contentmd5",
    "md5hash",
    "ino",
)


def version_of(path: Path | Remote) -> FileVersion:
    """Return what distinguishes this file from a later one of the same name."""
    return _identifying(path.info()) if isinstance(path, Remote) else Version.of(path)


def check_version(path: Place, version: FileVersion | None) -> None:
    """Raise `OSError` if a file is not what it was when its footer was read."""
    if isinstance(path, InMemory):
        return
    if isinstance(path, Remote):
        before = version if isinstance(version, dict) else {}
        now = _identifying(path.info())
        changed = sorted(name for name in {*now, *before} if now.get(name) != before.get(name))
        reason = ", ".join(f"{name} is {now.get(name)}, and was {before.get(name)}" for name in changed) or None
    else:
        assert isinstance(version, Version)
        reason = what_changed(path, version)
    if reason == GONE:
        raise FileNotFoundError(f"{path}: the file is gone since the loader was made")
    if reason is not None:
        raise OSError(f"{path}: the file has changed since the loader was made: {reason}; make a new loader")


def check_checksums(path: Path, row_groups: Sequence[int], names: Sequence[str]) -> None:
    """Raise `OSError` if pages of columns do not have the checksums that they were written with."""
    try:
        check_pages(path, read_footer(path), row_groups, names)
    except ValueError as error:
        raise OSError(str(error)) from None


def _identifying(info: Mapping[str, Any]) -> dict[str, str]:
    names = {name: name.replace("-", "").replace("_", "").lower() for name in info}
    return {
        name: str(info[name]) for name, plain in names.items() if plain in _IDENTIFYING and info[name] is not None
    }
