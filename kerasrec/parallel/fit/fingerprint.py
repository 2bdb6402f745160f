"""What must be equal on all ranks of a model, an optimizer or a loader, as plain data to be compared."""

from __future__ import annotations

from typing import Any

from kerasrec._keras import compiled_metrics, layers_of
from kerasrec.parallel import comm
from kerasrec.tables.variables import dense_weights

# What Keras numbers in the order of making, or what may well differ.
_ASIDE = ("name", "seed", "build_config", "shared_object_id")


def of_model(model: Any) -> dict[str, Any]:
    """Its layers in order, its dense weights, its tables' places, its loss, metrics and optimizer."""
    layers = layers_of(model)
    return {
        "architecture": [[type(layer).__name__, _config(layer)] for layer in layers],
        "weights": [_variable(weight) for weight in dense_weights(model)],
        "embeddings": [of_embedding(layer) for layer in layers if hasattr(layer, "plan")],
        "loss": _named(getattr(model, "loss", None)),
        "metrics": _metrics(model),
        "optimizer": of_optimizer(model.optimizer) if getattr(model, "optimizer", None) is not None else None,
    }


def of_embedding(layer: Any) -> dict[str, Any]:
    """Its name is in the names of its messages, its seed in the tables' first values."""
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


def of_optimizer(optimizer: Any) -> dict[str, Any]:
    import keras

    return _cleaned(keras.optimizers.serialize(optimizer))


def of_data(data: Any) -> dict[str, Any] | None:
    """Of a loader: what it deals to ranks in which order, and its files where ranks share them; else None."""
    data = getattr(data, "loader", data)  # that of tensors made of a loader's batches
    if not hasattr(data, "fingerprints"):
        return None
    names = (
        *("total_rows", "batch_size", "shuffle", "seed", "epoch", "drop_last", "pool_rows", "ranks"),
        "sample_weight",
    )
    dealt = {"batches": len(data), **{name: getattr(data, name) for name in names}}
    if data.ranks == comm.size():  # else each rank may have files of its own
        dealt |= {"files": data.fingerprints, "order of files": list(data.fingerprints)}
    return dealt


def _metrics(model: Any) -> list[Any]:
    """As they were given to `compile`; Keras makes them when it traces the first step."""
    given = compiled_metrics(model)
    return [each if isinstance(each, str) else [type(each).__name__, _config(each)] for each in given]


def _config(layer: Any) -> Any:
    if hasattr(layer, "plan"):
        return None
    try:
        return _cleaned(layer.get_config())
    except Exception:  # a layer need not have one
        return None


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _cleaned(each) for key, each in value.items() if key not in _ASIDE}
    if isinstance(value, list | tuple):
        return [_cleaned(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float | str) else _named(value)


def _variable(variable: Any) -> list[Any]:
    return [list(variable.shape), str(variable.dtype), bool(variable.trainable)]


def _named(value: Any) -> str | None:
    """Without the address that Python prints for a function or an object."""
    if value is None or isinstance(value, str):
        return value
    return getattr(value, "name", None) or getattr(value, "__name__", None) or type(value).__name__
