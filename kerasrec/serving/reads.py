"""What a model reads and predicts, by name, and whether a workflow makes just that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerasrec.etl.sources.types import is_float, is_integer
from kerasrec.schema import Column, Schema, SchemaError, Tag


@dataclass(frozen=True)
class FeatureRead:
    """One feature that a model reads.

    Args:
        column: its name, dtype and whether it is a list.
        ragged: of a list, whether the model takes it ragged; otherwise padded with 0.
        width: of a padded list, how many elements a row has; None for as many as the batch's longest.
        measure: whether the model casts it to float32 at once, whatever its dtype.
    """

    column: Column
    ragged: bool = False
    width: int | None = None
    measure: bool = False

    def made(self, column: Column) -> Column:
        """The workflow's column as it is to be handed to the model. A null is NaN in any measure, so in that of an
        integer as well."""
        return column.evolve(dtype="float32" if self.measure else self.column.dtype)


def features_read(model: Any, made: Schema | None) -> list[FeatureRead]:
    """The features that `model` reads, each checked against `made`, the workflow's output schema, if given.

    Raises:
        SchemaError: a feature that `made` lacks or has with another dtype, cardinality or list-ness.
        ValueError: a model that is not built, or that does not tell its features.
    """
    if not getattr(model, "built", False):
        raise ValueError(f"{model.name!r} is not built: fit it, or call it on a batch, before exporting it")
    if isinstance(getattr(model, "schema", None), Schema):
        features = model.schema.features
        reads = [FeatureRead(c, ragged=c.is_list) for c in features.categorical]
        measures = features.continuous.without(Tag.CATEGORICAL)
        reads += [FeatureRead(c, ragged=c.is_list, measure=not c.is_list) for c in measures]
    elif isinstance(model, keras.Model) and isinstance(getattr(model, "input", None), Mapping):
        reads = [_of_input(name, tensor, made) for name, tensor in model.input.items()]
    else:
        raise ValueError(
            f"{model.name!r} does not tell its features: export takes a kr.models model, or a functional "
            "keras.Model whose inputs are a dict {feature: keras.Input(...)}"
        )
    for read in reads:
        if made is not None:
            _check(read, made, exact=hasattr(model, "schema"))
    return reads


def target_names(model: Any, made: Schema | None) -> list[str]:
    """The names of the model's outputs: the schema's targets, or else what Keras calls them.

    Raises:
        ValueError: two outputs of one name.
    """
    names = _target_names(model, made)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"{model.name!r} has several outputs named {', '.join(map(repr, twice))}, which a signature cannot "
            "tell apart: make them by layers of different names, or give the model its outputs as a dict"
        )
    return names


def _target_names(model: Any, made: Schema | None) -> list[str]:
    schema = getattr(model, "schema", made)
    outputs = list(getattr(model, "output_names", None) or ["output"])
    if isinstance(schema, Schema) and len(schema.targets):
        targets = schema.targets.names
        if not hasattr(model, "schema") and len(targets) != len(outputs):
            return outputs
        return targets
    return outputs


def _of_input(name: str, tensor: Any, made: Schema | None) -> FeatureRead:
    """A functional model's input: rank 1 or (batch, 1) is a scalar, unless the workflow makes a list of it."""
    shape, dtype = tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype)
    column = made[name] if made is not None and name in made else None
    is_list = column.is_list if column is not None and shape[1:] == (1,) else len(shape) == 2 and shape[1] != 1
    if len(shape) > 2:
        raise ValueError(f"the model's input {name!r} is {shape}: features are (batch,) or (batch, length)")
    read = Column(name, dtype, (Tag.LIST,) if is_list else ())
    if not is_list:
        return FeatureRead(read)
    longest = column.hotness.max if column is not None and column.hotness is not None else None
    return FeatureRead(read, bool(getattr(tensor, "ragged", False)), shape[1] or longest)


def _check(read: FeatureRead, made: Schema, exact: bool) -> None:
    wanted = read.column
    if wanted.name not in made.features:
        raise SchemaError(
            f"the model reads {wanted.name!r}, which the workflow does not make; "
            f"it makes: {', '.join(made.features.names)}"
        )
    column = made[wanted.name]
    if wanted.is_list != column.is_list:
        kinds = ("one value a row", "a list a row")
        raise SchemaError(
            f"feature {wanted.name!r}: the model reads {kinds[wanted.is_list]}, "
            f"the workflow makes {kinds[column.is_list]}"
        )
    # An integer that is no id may be handed over as a measure, as Keras does when it trains.
    measure = Tag.CATEGORICAL not in column.tags and is_integer(column.dtype) and is_float(wanted.dtype)
    castable = not exact and np.can_cast(column.dtype, wanted.dtype)
    if column.dtype != wanted.dtype and not measure and not castable:
        raise SchemaError(
            f"feature {wanted.name!r}: the model reads {wanted.dtype}, the workflow makes {column.dtype}"
        )
    if exact and column.cardinality != wanted.cardinality:
        raise SchemaError(
            f"feature {wanted.name!r}: the model was made for {wanted.cardinality} ids, "
            f"the workflow makes {column.cardinality}: they come from different fits"
        )
