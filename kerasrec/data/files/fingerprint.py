"""What tells data sets apart that should be the same on all ranks, without reading them."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from typing import Any
from zlib import crc32

from kerasrec import hive
from kerasrec.data.files.remote import Remote
from kerasrec.data.threads import side_by_side
from kerasrec.parquet.footers import read_footer

BEGINNING = 16_384  # bytes of a file
AT_ONCE = 16  # files


def fingerprints(files: Sequence[Any]) -> dict[str, str]:
    """Each file's rows, size and a checksum, by its name and those of its folders named `column=value`.

    The checksum is of the footer, which has the schema, the row groups, the statistics and the length of each
    column, and of the first bytes of a local file. Data that differ otherwise alone are not told apart.
    """
    seen: Counter[str] = Counter()
    found = {}
    for path, fingerprint in zip(files, side_by_side(_fingerprint, files, AT_ONCE), strict=True):
        name = _name(path)
        seen[name] += 1
        found[name if seen[name] == 1 else f"{name} ({seen[name]})"] = fingerprint
    return found


def _fingerprint(path: Any) -> str:
    if isinstance(path, Remote):
        footer, size, beginning = path.footer, path.size, b""
    else:
        footer, size = read_footer(path), path.stat().st_size
        with path.open("rb") as file:
            beginning = file.read(BEGINNING)
    described = io.BytesIO()
    footer.write_metadata_file(described)
    return f"{footer.num_rows:,} rows in {size:,} bytes ({crc32(beginning, crc32(described.getvalue())):08x})"


def _name(path: Any) -> str:
    parts = list(path.parts)
    first = len(parts) - 1
    while first and hive.is_partition(parts[first - 1]):
        first -= 1
    return "/".join(parts[first:])
