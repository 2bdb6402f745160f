"""Checks of a model's schema, of its data and of the arguments of `fit`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerasrec.data.loader import Loader
from kerasrec.data.unused_arguments import refuse
from kerasrec.schema import Column, Schema, SchemaError, Tag


def check_same_features(model: Schema, other: Schema, role: str) -> None:
    """Raise `SchemaError`, naming the column, unless `other` has `model`'s features with the same ids.

    Args:
        model: the model's schema.
        other: that of `role`, such as "the training data".
    """
    for column in (*model.features.categorical, *model.features.continuous):
        if column.name not in other:
            raise SchemaError(f"column {column.name!r} of the model's schema is missing in {role}")
        for name in ("cardinality", "table", "is_list"):
            expected, value = getattr(column, name), getattr(other[column.name], name)
            if expected != value:
                raise SchemaError(
                    f"column {column.name!r}: {name} is {expected!r} in the model's schema, but {value!r} in "
                    f"{role}; write both with one fitted workflow"
                )


def check_fit(loader: Loader | None, arguments: Mapping[str, Any]) -> None:
    """Raise `ValueError` for an argument of `fit` that a loader decides.

    `refuse_unused_arguments` finds the others.
    """
    if arguments.get("validation_split"):
        raise ValueError(
            "validation_split: a kr.Loader cannot be split; write the validation rows to a folder of their own "
            "and pass validation_data=kr.Loader(...)"
        )
    if loader is not None and bool(arguments.get("shuffle", loader.shuffle)) != loader.shuffle:
        refuse("shuffle")


def check_binary(target: Column) -> None:
    """Raise `SchemaError` for a target with other values than 0 and 1."""
    if Tag.REGRESSION in target.tags:
        raise SchemaError(
            f"task 'binary' needs a target of 0 and 1, but {target.name!r} has values other than 0 and 1; "
            "use etl.Target(threshold=...), or task='regression'"
        )
