"""The ids that operators output: 0 padding, 1 null, 2 out of vocabulary, and from 3 on values or buckets."""

from __future__ import annotations

from collections.abc import Sequence

from kerasrec.schema import Column, SchemaError, Tag, suggest_embedding_dim

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
    """Describe the string column `name` that joins several scalar columns; it has the USER or ITEM tag if all
    have."""
    for column in columns:
        if column.is_list:
            raise SchemaError(f"column {column.name!r} has lists; {op} takes one value per row")
    tags = [tag for tag in (Tag.USER, Tag.ITEM) if all(tag in column.tags for column in columns)]
    return Column(name, "string", tuple(tags), nullable=all(column.nullable for column in columns))
