"""What a user says about embedding tables and the features that look them up; plain data."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

COMBINERS = ("sum", "mean", "sqrtn", None)
PLACEMENTS = ("auto",)


@dataclass(frozen=True)
class TableConfig:
    """One embedding table.

    Args:
        name: the table's name, unique in a model; a checkpoint keeps the table under it.
        vocabulary_size: number of rows; ids are in [0, vocabulary_size).
        embedding_dim: number of columns.
        combiner: how the vectors of a list become one: "sum", "mean", "sqrtn" (sum / sqrt(count)), or None to
            keep them apart.
        initializer: a `keras.initializers` name or instance that draws each value on its own: uniform, normal,
            truncated normal, a variance scaling, zeros, ones or a constant.
        placement: where the rows live; "auto" lets the plan choose.
        optimizer: what the table is trained with instead of the model's own optimizer: an optimizer, its name
            or its serialised form. The table keeps the serialised form, so the optimizer given is never itself
            trained with; tables whose optimizers are configured alike share one.

    Raises:
        ValueError: a size below one, or an unknown combiner, placement or optimizer.

    Example:

    >>> kr.TableConfig("item", 1000, 16, optimizer=kr.optimizers.RowwiseAdagrad(0.02))
    """

    name: str
    vocabulary_size: int
    embedding_dim: int
    combiner: str | None = "mean"
    initializer: Any = "uniform"
    placement: str = "auto"
    optimizer: Any = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a table needs a name")
        for field in ("vocabulary_size", "embedding_dim"):
            size = getattr(self, field)
            if isinstance(size, bool) or int(size) != size or size < 1:
                raise ValueError(f"table {self.name!r}: {field} must be a whole number above 0, not {size!r}")
            object.__setattr__(self, field, int(size))
        if self.combiner not in COMBINERS:
            raise ValueError(f"table {self.name!r}: combiner must be one of {COMBINERS}, not {self.combiner!r}")
        if self.placement not in PLACEMENTS:
            raise ValueError(f"table {self.name!r}: placement must be one of {PLACEMENTS}, not {self.placement!r}")
        if self.optimizer is not None:
            object.__setattr__(self, "optimizer", _serialised(self.name, self.optimizer))


def _serialised(table: str, optimizer: Any) -> dict[str, Any]:
    import keras

    try:
        given = deepcopy(optimizer) if isinstance(optimizer, dict) else optimizer  # Keras changes a dict
        config = keras.optimizers.serialize(keras.optimizers.get(given))
    except (TypeError, ValueError) as error:
        raise ValueError(f"table {table!r}: {optimizer!r} is no optimizer: {error}") from error
    config["config"].pop("name", None)  # Keras numbers names, which would tell equal optimizers apart
    return config


@dataclass(frozen=True)
class FeatureConfig:
    """One feature: the input column `name`, whose ids look up `table`. Features may share a table.

    Args:
        name: the feature's name.
        table: the table that its ids are rows of.
    """

    name: str
    table: TableConfig
