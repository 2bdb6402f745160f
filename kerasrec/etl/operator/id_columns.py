"""The ids that operators output: 0 padding, 1 null, 2 out of vocabulary, and from 3 on values or buckets."""

from __future__ import annotations

from collections.abc import Sequence

from kerasrec.schema import Column, SchemaError, Tag, suggest_embedding_dim
from kerasrec.tags import inherited_tags

NULL, UNKNOWN, FIRST = 1, 2, 3


def id_dtype(cardinality: int) -> str:
    """Return the dtype of ids below `cardinality`."""
    return "int32" if cardinality < 2**31 else "int64"


def id_column(column: Column, cardinality: int, table: str, lookup_cdf: tuple[float, ...] | None = None) -> Column:
    """Describe a column of ids below `cardinality` that look up the embedding table `table`."""
    return column.evolve(
        dtype=id_dtype(cardinality),
        add_tags=[Tag.CATEGORICAL],
        cardinality=cardinality,
        embedding_dim=suggest_embedding_dim(cardinality),
        table=table,
        nullable=False,
        lookup_cdf=lookup_cdf,
    )


def joint_column(columns: Sequence[Column], name: str, op: str) -> Column:
    """Describe the string column `name` that joins several scalar columns; it has the tags that
    all have, such as USER or ITEM."""
    for column in columns:
        if column.is_list:
            raise SchemaError(f"column {column.name!r} has lists; {op} takes one value per row")
    tags = inherited_tags(*(column.tags for column in columns))
    return Column(name, "string", tags, nullable=all(column.nullable for column in columns))
