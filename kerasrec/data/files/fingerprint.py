"""Fingerprints of data, by which ranks find out whether they have the same; files are not read for it."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from zlib import crc32

from kerasrec import hive
from kerasrec.data.files.discovery import Place
from kerasrec.data.files.in_memory import InMemory
from kerasrec.data.files.remote import Remote
from kerasrec.data.threads import side_by_side
from kerasrec.parquet.footers import read_footer

BEGINNING = 16_384  # bytes at the beginning of a file
AT_ONCE = 16  # files


def fingerprints(files: Sequence[Place]) -> dict[str, str]:
    """Return each file's number of rows, size and checksum, by its name and those of its folders `column=value`.

    The checksum covers the footer, which contains the schema, the row groups, the statistics and the length of
    each column, and the first bytes of a local file. It misses data that differ in nothing else. Of rows in memory
    it covers all values.
    """
    seen: Counter[str] = Counter()
    by_name = {}
    for path, fingerprint in zip(files, side_by_side(_fingerprint, files, AT_ONCE), strict=True):
        name = _name(path)
        seen[name] += 1
        by_name[name if seen[name] == 1 else f"{name} ({seen[name]})"] = fingerprint
    return by_name


def _fingerprint(path: Place) -> str:
    if isinstance(path, InMemory):
        return f"{path.rows:,} rows ({path.checksum:08x})"
    if isinstance(path, Remote):
        footer, size, beginning = path.footer, path.size, b""
    else:
        footer, size = read_footer(path), path.stat().st_size
        with path.open("rb") as file:
            beginning = file.read(BEGINNING)
    footer_bytes = io.BytesIO()
    footer.write_metadata_file(footer_bytes)
    return f"{footer.num_rows:,} rows in {size:,} bytes ({crc32(beginning, crc32(footer_bytes.getvalue())):08x})"


def _name(path: Place) -> str:
    if isinstance(path, InMemory):
        return path.label
    parts = list(path.parts)
    first = len(parts) - 1
    while first and hive.is_partition(parts[first - 1]):
        first -= 1
    return "/".join(parts[first:])
