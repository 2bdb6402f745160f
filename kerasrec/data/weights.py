"""The weights of rows in the loss: one column for all targets, or one for each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, TypeAlias

from kerasrec.schema import Schema, SchemaError, Tag

# The column for all targets, or a dict by target in which those left out weigh 1; None is what the schema says.
SampleWeight: TypeAlias = str | Mapping[str, str] | Literal[False] | None


def weights_by_target(schema: Schema, targets: Collection[str]) -> dict[str, str | None]:
    """Return the column with the weights of each of some targets; None for a target whose rows weigh 1.

    A target's `weight` names it. A column with the tag WEIGHT that no target names is for the others.

    Raises:
        ValueError: there are several such columns.
        SchemaError: the schema lacks the column.
    """
    named_by_any = {target.weight for target in schema.targets}
    named = {target.name: target.weight for target in schema.targets if target.name in targets}
    for target, column in named.items():
        if column is not None and column not in schema:
            raise SchemaError(
                f"target {target!r}: its weight, column {column!r}, is not in the schema; available: "
                f"{', '.join(schema.names)}. sample_weight=False uses none"
            )
    others = [name for name in schema.select(Tag.WEIGHT).names if name not in named_by_any]
    if len(others) > 1 and None in named.values():
        raise ValueError(
            f"the schema has several weights, {', '.join(map(repr, others))}; name one with sample_weight=..., "
            "one for each target with sample_weight={target: column}, or pass sample_weight=False"
        )
    return {target: column or next(iter(others), None) for target, column in named.items()}


def choose_weights(
    schema: Schema, columns: Collection[str], targets: Collection[str], sample_weight: SampleWeight
) -> Schema:
    """Return the schema with the weights that are asked for, whatever those columns were before.

    Args:
        schema: of the data.
        columns: the features that the caller names.
        targets: the targets to yield.
        sample_weight: the loader's argument.

    Raises:
        ValueError, SchemaError: an unknown target or column, a column with another role, lists or ids.
    """
    if sample_weight is None:
        chosen = weights_by_target(schema, targets)
    elif sample_weight is False:
        chosen = {}
    elif isinstance(sample_weight, str):
        _check_role(sample_weight, columns, targets)
        chosen = dict.fromkeys(targets, sample_weight)
    else:
        _check_targets(sample_weight, targets)
        chosen = {target: sample_weight.get(target) for target in targets}
    weights = {name for name in chosen.values() if name is not None}
    for name in weights:
        _check_role(name, columns, ())
        _check_weight(schema, name)
    # One column for all is known by its tag alone.
    for_all = len(set(chosen.values())) == 1 and not weights & set(targets)
    result = []
    for column in schema:
        tags = [tag for tag in column.tags if tag != Tag.WEIGHT]
        if column.name in weights:
            tags = [*tags, Tag.WEIGHT] if column.name in targets else [Tag.WEIGHT]
        elif len(tags) < len(column.tags):
            continue  # a weight that is not used
        weight = None if for_all else chosen.get(column.name)
        result.append(column.evolve(tags=tags, weight=weight))
    return Schema(result)


def _check_targets(sample_weight: Mapping[str, str], targets: Collection[str]) -> None:
    for target in sample_weight:
        if target not in targets:
            raise ValueError(
                f"sample_weight: no target {target!r} is yielded; targets: {', '.join(targets) or 'none'}"
            )


def _check_role(column: str, columns: Collection[str], targets: Collection[str]) -> None:
    for role, names in (("columns", columns), ("targets", targets)):
        if column in names:
            raise ValueError(f"sample_weight={column!r} is also in {role}=: a column has one role")


def _check_weight(schema: Schema, name: str) -> None:
    if name not in schema:
        raise ValueError(f"sample_weight: no column {name!r} in the schema; available: {', '.join(schema.names)}")
    if schema[name].is_list:
        raise SchemaError(f"sample_weight={name!r} is a list column in the schema; a weight is one number per row")
    if Tag.CATEGORICAL in schema[name].tags:
        raise SchemaError(f"sample_weight={name!r} is categorical in the schema; a weight is a number")
