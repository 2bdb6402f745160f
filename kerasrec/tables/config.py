"""The configuration of embedding tables and of the features that look them up; plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from kerasrec.tables.keras_config import plain_config
from kerasrec.typing import Initializer, Optimizer, Regularizer

COMBINERS = ("sum", "mean", "sqrtn", None)
PLACEMENTS = ("auto", "table_wise", "row_wise", "column_wise", "replicated", "hybrid")


@dataclass(frozen=True)
class TableConfig:
    """One embedding table.

    Args:
        name: the table's name, unique in a model; a checkpoint keeps the table under it.
        vocabulary_size: number of rows; ids are in [0, vocabulary_size).
        embedding_dim: number of columns.
        combiner: how the vectors of a list become one: "sum", "mean", "sqrtn" (sum / sqrt(count)), or None to
            keep them separate.
        initializer: a `keras.initializers` name or instance that draws each value on its own: uniform, normal,
            truncated normal, a variance scaling, zeros, ones or a constant.
        placement: which ranks own the rows, where there are several: "table_wise" (one rank), "row_wise",
            "column_wise", "replicated" (replicas of all rows on every rank), "hybrid" (replicas of frequent rows
            on every rank, the rest row-wise), or "auto", which lets the plan choose.
        optimizer: trains the table instead of the model's own optimizer: an optimizer, its name or its serialised
            form. The table keeps the serialised form, so the optimizer that you pass is copied; tables whose
            optimizers have the same configuration share one.
        regularizer: a `keras.regularizers` name or instance, or its serialised form, which the table keeps. In
            training its value for the vectors that the batch looks up (those of a list combined), divided by the
            batch's rows, is added to the loss: the mean penalty per row, as in matrix factorization. Rows that
            no batch looks up do not decay.
        frequent_rows: of a hybrid table, how many rows from row 0 on have replicas on every rank; None lets the
            plan choose. Ids are ordered by frequency, so these are the most frequent ones.
        lookup_cdf: the share of all lookups that goes to the first 1, 2, 4, 8, ... rows, as in a schema; None
            is a power law. It serves the plan's estimates alone, and two tables that differ in it are equal.

    Raises:
        ValueError: a size below one, an unknown combiner, placement or optimizer, more frequent rows than rows,
            or a lookup_cdf that is not increasing shares.

    Example:

    >>> kr.TableConfig("item", 1000, 16, optimizer=kr.optimizers.RowwiseAdagrad(0.1))
    """

    name: str
    vocabulary_size: int
    embedding_dim: int
    combiner: str | None = "mean"
    initializer: Initializer = "uniform"
    placement: str = "auto"
    optimizer: str | Mapping[str, Any] | Optimizer | None = None
    regularizer: Regularizer | None = None
    frequent_rows: int | None = None
    lookup_cdf: tuple[float, ...] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError(f"a table's name must not be empty; got {self.name!r}")
        for which in ("vocabulary_size", "embedding_dim"):
            size = getattr(self, which)
            if isinstance(size, bool) or int(size) != size or size < 1:
                raise ValueError(f"table {self.name!r}: {which} must be an integer >= 1; got {size!r}")
            object.__setattr__(self, which, int(size))
        if self.combiner not in COMBINERS:
            raise ValueError(f"table {self.name!r}: combiner must be one of {COMBINERS}; got {self.combiner!r}")
        if self.placement not in PLACEMENTS:
            raise ValueError(f"table {self.name!r}: placement must be one of {PLACEMENTS}; got {self.placement!r}")
        if self.frequent_rows is not None and not 0 <= self.frequent_rows <= self.vocabulary_size:
            raise ValueError(
                f"table {self.name!r}: frequent_rows must be in [0, {self.vocabulary_size}], the number of "
                f"rows; got {self.frequent_rows!r}"
            )
        if self.lookup_cdf is not None:
            object.__setattr__(self, "lookup_cdf", tuple(float(share) for share in self.lookup_cdf))
            if any(low > high for low, high in pairwise((0.0, *self.lookup_cdf, 1.0))):
                raise ValueError(
                    f"table {self.name!r}: lookup_cdf must be increasing from 0 to 1; got {self.lookup_cdf}"
                )
        for which in ("optimizer", "regularizer"):
            if (given := getattr(self, which)) is not None:
                object.__setattr__(self, which, _serialized(self.name, which, given))


def _serialized(table: str, kind: str, given: Any) -> dict[str, Any]:
    import keras

    package = getattr(keras, f"{kind}s")
    try:
        config = plain_config(
            package.serialize(package.get(deepcopy(given) if isinstance(given, dict) else given))
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"table {table!r}: {kind} must be a keras.{kind}s name, instance or config; got {given!r}: {error}"
        ) from error
    if isinstance(config.get("config"), dict):
        config["config"].pop("name", None)  # Keras numbers names, so equal optimizers would differ
    return config


@dataclass(frozen=True)
class FeatureConfig:
    """One feature: the input column `name`, whose ids look up `table`. Features may share a table.

    Args:
        name: the feature's name.
        table: the table that its ids are rows of.
        hotness: the mean number of ids per row of the data, for the plan's estimates; lookups do not need it.

    Raises:
        ValueError: a hotness that is not a finite number >= 0.
    """

    name: str
    table: TableConfig
    hotness: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.hotness < math.inf:
            raise ValueError(f"feature {self.name!r}: hotness must be a finite number >= 0; got {self.hotness!r}")
