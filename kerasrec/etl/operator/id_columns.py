"""The ids that operators make: 0 padding, 1 null, 2 unknown, and from 3 on what the operator tells apart."""

from __future__ import annotations

from collections.abc import Sequence

from kerasrec.schema import Column, SchemaError, Tag, suggest_embedding_dim

NULL, UNKNOWN, FIRST = 1, 2, 3


def id_dtype(cardinality: int) -> str:
    """The type of ids below `cardinality`."""
    return "int32" if cardinality < 2**31 else "int64"


def id_column(column: Column, cardinality: int, table: str, head: tuple[float, ...] | None = None) -> Column:
    """`column` as one of ids below `cardinality`, looked up in the embedding table `table`."""
    return column.evolve(
        dtype=id_dtype(cardinality),
        add_tags=[Tag.CATEGORICAL],
        cardinality=cardinality,
        embedding_dim=suggest_embedding_dim(cardinality),
        table=table,
        nullable=False,
        head=head,
    )


def united(columns: Sequence[Column], name: str, op: str) -> Column:
    """One column of strings, `name`, made of several scalar ones; it is a user's or an item's where all are."""
    for column in columns:
        if column.is_list:
            raise SchemaError(f"column {column.name!r} holds lists; {op} takes one value a row")
    tags = [tag for tag in (Tag.USER, Tag.ITEM) if all(tag in column.tags for column in columns)]
    return Column(name, "string", tuple(tags), nullable=all(column.nullable for column in columns))
