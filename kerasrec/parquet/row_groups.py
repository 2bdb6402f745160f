"""The positions of a Parquet file's columns in its row groups."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq


def leaf_positions(footer: pq.FileMetaData) -> dict[str, range]:
    """Return the positions of each top-level column's leaves, the same in every row group of the file.

    Leaves are counted along the schema. Their dotted paths are ambiguous: `user.id` may be a field of a struct
    `user` or a column of that name, and a list `tags` has the same prefix as a column `tags.count`. A name that
    several columns have is left out."""
    fields = list(footer.schema.to_arrow_schema())
    columns_named = Counter(field.name for field in fields)
    positions, start = {}, 0
    for field in fields:
        stop = start + _count(field.type)
        if columns_named[field.name] == 1:
            positions[field.name] = range(start, stop)
        start = stop
    return positions if start == footer.num_columns else {}  # Arrow may read the schema differently


def _count(kind: pa.DataType) -> int:
    if isinstance(kind, pa.BaseExtensionType):
        return _count(kind.storage_type)
    return sum(_count(kind.field(place).type) for place in range(kind.num_fields)) or 1
