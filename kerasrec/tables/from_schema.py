"""From a schema to the features to embed; imports no framework, so that a laptop can plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kerasrec.schema import Column, Schema, SchemaError, suggest_embedding_dim
from kerasrec.tables.config import FeatureConfig, TableConfig
from kerasrec.typing import Initializer, Regularizer


def embedding_features(
    schema: Schema,
    embedding_dim: int | None = None,
    combiner: str | Mapping[str, str | None] = "mean",
    initializer: Initializer = "uniform",
    table_suffix: str = "",
    regularizer: Regularizer | None = None,
    uncombined: Collection[str] = (),
) -> dict[str, FeatureConfig]:
    """Return the features of a schema's categorical columns, for `DistributedEmbedding`.

    Columns with the same `table` share one. `combiner`, `initializer` and `regularizer` are for all tables, or
    dicts by the name of a column or table, where those that are not named keep the default.

    Args:
        schema: its categorical columns that are not targets are used.
        embedding_dim: the width of every table; None takes the width that each column suggests.
        combiner: how the vectors of a list become one.
        initializer: of the tables.
        table_suffix: added to the tables' names, for a second set of tables over the same columns.
        regularizer: of the tables.
        uncombined: tables that have no combiner, whatever `combiner` says.

    Raises:
        SchemaError: a categorical column without ids or cardinality, or columns that share a table but differ in
            cardinality, width or one of these arguments.
        ValueError: a dict with a name that is neither a column's nor a table's.
    """
    columns = list(schema.features.categorical)
    combiners = column_combiners(schema, combiner)
    initializers = _per_column("initializer", initializer, columns, "uniform")
    regularizers = _per_column("regularizer", regularizer, columns, None)
    features: dict[str, FeatureConfig] = {}
    tables: dict[str, tuple[str, TableConfig]] = {}
    for column in columns:
        name = (column.table or column.name) + table_suffix
        table = TableConfig(
            name,
            _cardinality(column),
            _width(column, embedding_dim),
            None if (column.table or column.name) in uncombined else combiners[column.name],
            initializers[column.name],
            lookup_cdf=column.lookup_cdf,
            regularizer=regularizers[column.name],
        )
        owner, first = tables.setdefault(name, (column.name, table))
        _refuse_differing(name, {owner: first, column.name: table})
        hotness = column.hotness.mean if column.hotness else 1.0
        features[column.name] = FeatureConfig(column.name, first, hotness)
    return features


def column_combiners(schema: Schema, combiner: str | Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the combiner of each categorical column of a schema, given as `embedding_features` takes it."""
    return _per_column("combiner", combiner, list(schema.features.categorical), "mean")


def _refuse_differing(name: str, tables: Mapping[str, TableConfig]) -> None:
    """Raise `SchemaError` if the configurations that two columns, the keys, give their shared table differ."""
    columns = " and ".join(map(repr, tables))
    for field in ("vocabulary_size", "embedding_dim", "combiner", "initializer", "regularizer"):
        first, *others = (getattr(config, field) for config in tables.values())
        for other in others:
            if other != first:
                raise SchemaError(
                    f"columns {columns} share table {name!r}, but differ in {field}: {first!r} and {other!r}"
                )


def _per_column(argument: str, given: Any, columns: Sequence[Column], default: Any) -> dict[str, Any]:
    """Return each column's value of an argument that is one for all, or a dict by column or table."""
    if not isinstance(given, Mapping) or "class_name" in given:  # Keras's serialised form is a dict as well
        return dict.fromkeys((column.name for column in columns), given)
    names = {name for column in columns for name in (column.name, column.table) if name}
    if unknown := set(given) - names:
        available = ", ".join(sorted(names))
        raise ValueError(f"{argument}: no column or table {min(unknown)!r} in the schema; available: {available}")
    by_table = {c.table: given[c.name] for c in columns if c.table and c.name in given}
    values = {}
    for column in columns:
        shared = by_table.get(column.table or "", default)
        values[column.name] = given.get(column.name, given.get(column.table or "", shared))
    return values


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
