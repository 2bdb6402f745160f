"""The features that a model reads and the targets that it predicts, checked against what a workflow makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerasrec.etl.sources.types import is_float, is_integer
from kerasrec.schema import Column, Schema, SchemaError, Tag
from kerasrec.typing import Tensor


@dataclass(frozen=True)
class FeatureRead:
    """A feature that a model reads.

    Args:
        column: its name, dtype and whether it is a list.
        ragged: for a list, whether the model takes it ragged; otherwise padded with 0.
        width: for a padded list, the number of elements per row; None for that of the batch's longest row.
        measure: whether the model casts it to float32 at once, whatever its dtype.
    """

    column: Column
    ragged: bool = False
    width: int | None = None
    measure: bool = False

    def cast(self, column: Column) -> Column:
        """Return the workflow's column in the dtype to pass to the model.

        A null is NaN in any measure, so also in one of integers.
        """
        return column.evolve(dtype="float32" if self.measure else self.column.dtype)


def features_read(model: Any, output_schema: Schema | None) -> list[FeatureRead]:
    """Return the features that `model` reads, checked against a workflow's output schema if given.

    Raises:
        SchemaError: the schema lacks a feature, or has it with another dtype or cardinality, or as a list only
            here or there.
        ValueError: the model is not built, or the names of its features are not known.
    """
    if not getattr(model, "built", False):
        raise ValueError(f"{model.name!r} is not built: fit it, or call it on a batch, before exporting it")
    if isinstance(getattr(model, "schema", None), Schema):
        return columns_read(model.schema, output_schema)
    if isinstance(model, keras.Model) and isinstance(getattr(model, "input", None), Mapping):
        reads = [_of_input(name, tensor, output_schema) for name, tensor in model.input.items()]
    else:
        raise ValueError(
            f"the names of the features of {model.name!r} are not known: pass a kr.models model, or a functional "
            "keras.Model whose inputs are a dict {feature: keras.Input(...)}"
        )
    for read in reads:
        if output_schema is not None:
            _check(read, output_schema, exact=False)
    return reads


def columns_read(schema: Schema, output_schema: Schema | None) -> list[FeatureRead]:
    """Return the features that a model reads that was made for a schema, checked as by `features_read`."""
    features = schema.features
    reads = [FeatureRead(c, ragged=c.is_list) for c in features.categorical]
    measures = features.continuous.without(Tag.CATEGORICAL)
    reads += [FeatureRead(c, ragged=c.is_list, measure=not c.is_list) for c in measures]
    for read in reads:
        if output_schema is not None:
            _check(read, output_schema, exact=True)
    return reads


def target_names(model: Any, output_schema: Schema | None) -> list[str]:
    """Return the names of the model's outputs: the schema's targets, or else Keras's names.

    Raises:
        ValueError: two outputs have one name.
    """
    names = _target_names(model, output_schema)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"{model.name!r} has several outputs named {', '.join(map(repr, twice))}; the names in a signature "
            "must differ: name the layers that make them differently, or make the model's outputs a dict"
        )
    return names


def _target_names(model: Any, output_schema: Schema | None) -> list[str]:
    schema = getattr(model, "schema", output_schema)
    outputs = list(getattr(model, "output_names", None) or ["output"])
    if isinstance(schema, Schema) and len(schema.targets):
        targets = schema.targets.names
        if not hasattr(model, "schema") and len(targets) != len(outputs):
            return outputs
        return targets
    return outputs


def _of_input(name: str, tensor: Tensor, output_schema: Schema | None) -> FeatureRead:
    """Return the feature of a functional model's input.

    An input (batch,) or (batch, 1) is a scalar, unless the workflow makes a list of it.
    """
    shape, dtype = tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype)
    column = output_schema[name] if output_schema is not None and name in output_schema else None
    is_list = column.is_list if column is not None and shape[1:] == (1,) else len(shape) == 2 and shape[1] != 1
    if len(shape) > 2:
        raise ValueError(f"the model's input {name!r} is {shape}: features are (batch,) or (batch, length)")
    read = Column(name, dtype, (Tag.LIST,) if is_list else ())
    if not is_list:
        return FeatureRead(read)
    longest = column.hotness.max if column is not None and column.hotness is not None else None
    return FeatureRead(read, bool(getattr(tensor, "ragged", False)), shape[1] or longest)


def _check(read: FeatureRead, output_schema: Schema, exact: bool) -> None:
    expected = read.column
    if expected.name not in output_schema.features:
        raise SchemaError(
            f"the model reads {expected.name!r}, which the workflow does not make; "
            f"it makes: {', '.join(output_schema.features.names)}"
        )
    column = output_schema[expected.name]
    if expected.is_list != column.is_list:
        kinds = ("one value per row", "a list per row")
        raise SchemaError(
            f"feature {expected.name!r}: the model reads {kinds[expected.is_list]}, "
            f"the workflow makes {kinds[column.is_list]}"
        )
    # An integer that is not an id may be passed as a measure, as Keras does when it trains.
    measure = Tag.CATEGORICAL not in column.tags and is_integer(column.dtype) and is_float(expected.dtype)
    castable = not exact and np.can_cast(column.dtype, expected.dtype)
    if column.dtype != expected.dtype and not measure and not castable:
        raise SchemaError(
            f"feature {expected.name!r}: the model reads {expected.dtype}, the workflow makes {column.dtype}"
        )
    if exact and column.cardinality != expected.cardinality:
        raise SchemaError(
            f"feature {expected.name!r}: the model was made for {expected.cardinality} ids, "
            f"the workflow makes {column.cardinality}: they come from different fits"
        )
