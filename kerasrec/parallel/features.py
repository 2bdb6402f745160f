"""From a schema to the features that are embedded; brings in no framework, so that a laptop can plan."""

from __future__ import annotations

from typing import Any

from kerasrec.parallel.tables import FeatureConfig, TableConfig
from kerasrec.schema import Column, Schema, SchemaError, suggest_embedding_dim


def embedding_features(
    schema: Schema,
    embedding_dim: int | None = None,
    combiner: str = "mean",
    initializer: Any = "uniform",
    table_suffix: str = "",
) -> dict[str, FeatureConfig]:
    """The features of a schema's categorical columns, for `DistributedEmbedding`.

    Columns with the same `table` share one table.

    Args:
        schema: its categorical columns that are not targets are read.
        embedding_dim: the width of every table; None takes each column's own suggestion.
        combiner: how the vectors of a list become one.
        initializer: of every table.
        table_suffix: added to the tables' names, for a second set of tables over the same columns.

    Raises:
        SchemaError: a categorical column that holds no ids or has no cardinality, or columns that share a table
            but differ in cardinality or width; names the columns.
    """
    features: dict[str, FeatureConfig] = {}
    tables: dict[str, tuple[str, TableConfig]] = {}
    for column in schema.features.categorical:
        name = (column.table or column.name) + table_suffix
        rows, width = _cardinality(column), _width(column, embedding_dim)
        table = TableConfig(name, rows, width, combiner, initializer, head=column.head)
        owner, first = tables.setdefault(name, (column.name, table))
        if table != first:
            raise SchemaError(
                f"columns {owner!r} and {column.name!r} share table {name!r}, but one needs "
                f"{first.vocabulary_size} x {first.embedding_dim} and the other "
                f"{table.vocabulary_size} x {table.embedding_dim} (cardinality x width)"
            )
        hotness = column.hotness.mean if column.hotness else 1.0
        features[column.name] = FeatureConfig(column.name, first, hotness)
    return features


def _cardinality(column: Column) -> int:
    if "int" not in column.dtype:
        raise SchemaError(
            f"column {column.name!r} is categorical but of {column.dtype}; encode it as ids with etl.Categorify"
        )
    if column.cardinality is None:
        raise SchemaError(f"column {column.name!r} is categorical but has no cardinality in the schema")
    return column.cardinality


def _width(column: Column, embedding_dim: int | None) -> int:
    if embedding_dim is not None:
        return embedding_dim
    return column.embedding_dim or suggest_embedding_dim(_cardinality(column))
