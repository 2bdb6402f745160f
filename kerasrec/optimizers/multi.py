"""One optimizer for the tables, another for the dense part."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import keras

from kerasrec.optimizers.base import TableOptimizer
from kerasrec.optimizers.by_name import get
from kerasrec.tables.variables import is_table
from kerasrec.typing import Optimizer, Variable


@keras.saving.register_keras_serializable("kerasrec")
class Multi(TableOptimizer, keras.optimizers.Optimizer):
    """Trains embedding tables with one optimizer and everything else with another (not on the JAX backend).

    Tables are the stacks of `DistributedEmbedding` and the matrices of `keras.layers.Embedding`. A table whose
    `TableConfig` names an optimizer keeps that one.

    Args:
        optimizers: `{"tables": ..., "dense": ...}`, each an optimizer of `kr.optimizers`, or its name.
        loss_scale_factor: as in any Keras optimizer. Everything else is set on the two.

    Each of the two has its own learning rate, as `multi["dense"].learning_rate`. Where Keras asks for one,
    `multi.learning_rate` is the dense part's.

    Raises:
        ValueError: other keys than these two, or an optimizer that is not of `kr.optimizers`.

    Example:

    >>> model.compile(
    ...     optimizer=kr.optimizers.Multi(
    ...         {"tables": kr.optimizers.RowwiseAdagrad(), "dense": kr.optimizers.Adam(1e-3)}
    ...     ),
    ...     loss="binary_crossentropy",
    ... )
    """

    def __init__(self, optimizers: Mapping[str, Any], name: str = "multi", **kwargs: Any):
        if set(optimizers) != {"tables", "dense"}:
            raise ValueError(f'optimizers must be {{"tables": ..., "dense": ...}}; got keys {sorted(optimizers)}')
        kwargs = {key: value for key, value in kwargs.items() if value is not None}
        if unknown := set(kwargs) - {"loss_scale_factor"}:
            raise ValueError(f"Multi takes no {', '.join(sorted(unknown))}; set it on the two optimizers")
        tables, dense = (get(optimizers[part]) for part in ("tables", "dense"))
        super().__init__(learning_rate=lambda: dense.learning_rate, name=name, **kwargs)
        # In a namespace Keras does not track them: it would save their state a second time.
        self._parts_by_name = SimpleNamespace(tables=tables, dense=dense)

    def __getitem__(self, part: str) -> TableOptimizer:
        """Return the optimizer of \"tables\" or of the \"dense\" part."""
        return vars(self._parts_by_name)[part]

    def optimizer_of(self, variable: Variable) -> Optimizer:
        own = super().optimizer_of(variable)
        return self["tables" if is_table(variable) else "dense"] if own is self else own

    @property
    def learning_rate(self) -> Any:
        return self["dense"].learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        raise AttributeError(
            'Multi has two learning rates; set multi["tables"].learning_rate or multi["dense"].learning_rate'
        )

    def get_config(self) -> dict[str, Any]:
        return {
            "optimizers": {
                part: keras.optimizers.serialize(optimizer)
                for part, optimizer in vars(self._parts_by_name).items()
            },
            "name": self.name,
            "loss_scale_factor": self.loss_scale_factor,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Multi:
        return cls(**config)
