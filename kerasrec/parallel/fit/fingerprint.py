"""What must be equal on all ranks of a model or an optimizer, as plain data to be compared."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import keras

from kerasrec._keras import compiled_metrics, layers_of
from kerasrec.tables.plan import Plan
from kerasrec.tables.variables import dense_weights
from kerasrec.typing import Optimizer, Variable


@runtime_checkable
class Configured(Protocol):
    """A loss with options."""

    def get_config(self) -> dict[str, Any]: ...


# What Keras numbers in the order of making, or what may well differ.
_LEFT_OUT = ("name", "seed", "build_config", "shared_object_id")


def of_model(model: keras.Model) -> dict[str, Any]:
    """Return a model's layers in order, dense weights, places of tables, loss, metrics and optimizer."""
    layers = layers_of(model)
    optimizer = getattr(model, "optimizer", None)
    return {
        "architecture": [[type(layer).__name__, _config(layer)] for layer in layers],
        "weights": [_variable(weight) for weight in dense_weights(model)],
        "embeddings": [of_embedding(layer) for layer in layers if _plan(layer) is not None],
        "loss": of_loss(getattr(model, "loss", None)),
        "metrics": [_metric(metric) for metric in compiled_metrics(model)],
        "optimizer": None if optimizer is None else of_optimizer(optimizer),
    }


def of_embedding(layer: Any) -> dict[str, Any]:
    """Return what a `DistributedEmbedding`'s messages and the initial values of its tables depend on."""
    tables = {
        placed.table.name: {
            "rows": placed.table.vocabulary_size,
            "width": placed.table.embedding_dim,
            "placement": placed.placement,
            "on ranks": list(placed.ranks),
            "frequent_rows": placed.frequent_rows,
        }
        for placed in layer.plan.tables
    }
    config = {name: getattr(layer, name) for name in ("name", "seed", "wire_dtype", "ranks_per_node")}
    return {**config, "plan": tables}


def of_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """Return an optimizer's configuration, without names and seeds."""
    return _plain(keras.optimizers.serialize(optimizer))


def _plan(layer: keras.layers.Layer) -> Plan | None:
    """Return the plan of a layer that looks up tables."""
    plan = getattr(layer, "plan", None)
    return plan if isinstance(plan, Plan) else None


def _config(layer: keras.layers.Layer) -> Any:
    if _plan(layer) is not None:
        return None  # `of_embedding` has it
    try:
        return _plain(layer.get_config())
    except Exception:  # a layer need not have one
        return None


def of_loss(loss: Any) -> Any:
    """Return a loss with its options; of losses by output each."""
    if isinstance(loss, dict):
        return {str(name): of_loss(one) for name, one in loss.items()}
    if isinstance(loss, list | tuple):
        return [of_loss(one) for one in loss]
    if not isinstance(loss, Configured):
        return _name(loss)
    try:
        return [type(loss).__name__, _plain(loss.get_config())]
    except Exception:  # a loss need not have one
        return [type(loss).__name__, None]


def _metric(metric: Any) -> Any:
    return metric if isinstance(metric, str) else [type(metric).__name__, _config(metric)]


def _variable(variable: Variable) -> list[Any]:
    return [list(variable.shape), str(variable.dtype), bool(variable.trainable)]


def _plain(value: Any) -> Any:
    """Return a configuration as JSON can hold it, functions and objects by their names."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items() if key not in _LEFT_OUT}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else _name(value)


def _name(value: Any) -> str | None:
    """Return the name of a function or an object, without the address that Python would print."""
    if value is None or isinstance(value, str):
        return value
    return getattr(value, "name", None) or getattr(value, "__name__", None) or type(value).__name__
