"""What a model asks of its schema and of its data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerasrec.data.unused_arguments import refuse
from kerasrec.schema import Column, Schema, SchemaError, Tag


def check_same_features(model: Schema, other: Schema, said: str) -> None:
    """Raise `SchemaError`, naming the column, unless `other` has `model`'s features with the same ids."""
    for column in (*model.features.categorical, *model.features.continuous):
        if column.name not in other:
            raise SchemaError(f"column {column.name!r} of the model's schema is missing in {said}")
        theirs = other[column.name]
        for fact in ("cardinality", "table", "is_list"):
            mine, found = getattr(column, fact), getattr(theirs, fact)
            if mine != found:
                raise SchemaError(
                    f"column {column.name!r}: {fact} is {mine!r} in the model's schema, but {found!r} in {said}; "
                    "were both made by one workflow?"
                )


def check_fit(loader: Any, given: Mapping[str, Any]) -> None:
    """Raise `ValueError` for an argument of `fit` that a loader decides.

    `refuse_unused_arguments` finds the others.
    """
    if given.get("validation_split"):
        raise ValueError(
            "validation_split: a kr.Loader is not split; write the rows to validate by to a folder of their own "
            "and pass validation_data=kr.Loader(...)"
        )
    shuffle = getattr(loader, "shuffle", None)
    if shuffle is not None and bool(given.get("shuffle", shuffle)) != shuffle:
        refuse("shuffle")


def target_and_task(schema: Schema, task: str | None) -> tuple[str, str]:
    targets = schema.targets.names
    if len(targets) != 1:
        found = f"has targets {', '.join(targets)}" if targets else "has none"
        raise SchemaError(f"a model learns one target; the schema {found}")
    column = schema[targets[0]]
    if task is None:
        task = _task_of(column)
    if task not in ("binary", "regression"):
        raise ValueError(f"task must be 'binary' or 'regression', not {task!r}")
    if task == "binary":
        check_binary(column)
    return column.name, task


def check_binary(target: Column) -> None:
    if Tag.REGRESSION in target.tags:
        raise SchemaError(
            f"task 'binary' needs a target of 0 and 1, but {target.name!r} has values other than 0 and 1; "
            "use etl.Target(threshold=...), or task='regression'"
        )


def _task_of(column: Column) -> str:
    if Tag.BINARY in column.tags:
        return "binary"
    if Tag.REGRESSION in column.tags:
        return "regression"
    raise SchemaError(
        f"target {column.name!r} is tagged neither binary nor regression; pass task='binary' or 'regression'"
    )
