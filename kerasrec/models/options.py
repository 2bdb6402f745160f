"""`Options`: what a user chooses of any model's tables and towers; plain data, saved with the model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from kerasrec.schema import Schema
from kerasrec.tables.config import FeatureConfig
from kerasrec.tables.from_schema import embedding_features
from kerasrec.tables.keras_config import plain_config

COMBINERS = ("mean", "sum", "sqrtn")


@dataclass
class Options:
    """The arguments of this name of `SchemaModel`, in the form in which a config keeps them.

    Raises:
        ValueError: a combiner that is not one of `COMBINERS`, or an initializer, regularizer or activation that
            Keras does not know.
    """

    combiner: Any = "mean"
    embeddings_initializer: Any = "uniform"
    embeddings_regularizer: Any = None
    activation: Any = "relu"
    kernel_initializer: Any = "glorot_uniform"
    kernel_regularizer: Any = None

    def __post_init__(self) -> None:
        self.combiner = _apply(_checked_combiner, self.combiner)
        self.embeddings_initializer = _apply(_initializer, self.embeddings_initializer)
        self.embeddings_regularizer = _apply(_regularizer, self.embeddings_regularizer)
        self.activation = keras.activations.serialize(keras.activations.get(self.activation))
        self.kernel_initializer = _initializer(self.kernel_initializer)
        self.kernel_regularizer = _regularizer(self.kernel_regularizer)

    def config(self) -> dict[str, Any]:
        """Return the options as arguments of `SchemaModel`."""
        return dict(vars(self))

    def features(
        self, schema: Schema, embedding_dim: int | None, uncombined: Collection[str] = (), suffix: str = ""
    ) -> dict[str, FeatureConfig]:
        """Return the configuration of each categorical column's table.

        Lists of `uncombined` tables stay apart; `suffix` is added to the tables' names.
        """
        return embedding_features(
            schema,
            embedding_dim,
            self.combiner,
            self.embeddings_initializer,
            suffix,
            regularizer=self.embeddings_regularizer,
            uncombined=uncombined,
        )

    def of_other_columns(self) -> Options:
        """Return the options for columns of another schema: those that are given by column are the default."""
        return Options(**{name: value for name, value in self.config().items() if not _is_by_column(value)})

    def refuse_tower(self, model: str) -> None:
        """Raise `ValueError` if an option of dense towers is set, for a model that has none."""
        default = Options().tower()
        for name, value in self.tower().items():
            if value != default[name]:
                raise ValueError(f"{model}: {name} is of dense towers, and this model has none; leave it out")

    def tower(self) -> dict[str, Any]:
        """Return the arguments of an `MLP`."""
        names = ("activation", "kernel_initializer", "kernel_regularizer")
        return {name: getattr(self, name) for name in names}


def _is_by_column(given: Any) -> bool:
    return isinstance(given, Mapping) and "class_name" not in given


def _apply(function: Callable[[Any], Any], given: Any) -> Any:
    """Apply `function` to an argument, or to each value where it is a dict by column or table."""
    if _is_by_column(given):
        return {name: function(value) for name, value in given.items()}
    return function(given)


def _checked_combiner(combiner: Any) -> str:
    if combiner not in COMBINERS:
        raise ValueError(f"combiner must be one of {COMBINERS}; got {combiner!r}")
    return str(combiner)


def _initializer(given: Any) -> Any:
    return (
        given
        if isinstance(given, str)
        else plain_config(keras.initializers.serialize(keras.initializers.get(given)))
    )


def _regularizer(given: Any) -> Any:
    return None if given is None else plain_config(keras.regularizers.serialize(keras.regularizers.get(given)))
