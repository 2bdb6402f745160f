"""How much state an optimizer stores for an embedding table."""

from __future__ import annotations

from typing import Any, NamedTuple

_PER_WEIGHT = {"sgd": 0, "adagrad": 1, "adam": 2, "adamw": 2, "ftrl": 2}


class StateSize(NamedTuple):
    """How many numbers an optimizer stores for each weight of a table, and for each row."""

    per_weight: int
    per_row: int


def optimizer_state(optimizer: Any) -> StateSize:
    """Return how many numbers an optimizer stores.

    Args:
        optimizer: a name, such as "adagrad" or "RowwiseAdagrad", an optimizer, or its serialised form.

    Raises:
        ValueError: an optimizer whose state is not known.

    >>> optimizer_state("RowwiseAdagrad")
    StateSize(per_weight=0, per_row=1)
    """
    class_name, options = _class_and_options(optimizer)
    name = class_name.replace("_", "").lower()
    if name == "rowwiseadagrad":
        return StateSize(0, 1)
    if name not in _PER_WEIGHT:
        raise ValueError(
            f"cannot tell how much state optimizer {class_name!r} stores; expected SGD, Adagrad, RowwiseAdagrad, "
            "Adam, AdamW or Ftrl"
        )
    extra = bool(options.get("momentum")) if name == "sgd" else bool(options.get("amsgrad"))
    return StateSize(_PER_WEIGHT[name] + extra, 0)


def _class_and_options(optimizer: Any) -> tuple[str, dict[str, Any]]:
    """Return the class name and the configuration of the optimizer that trains tables."""
    if isinstance(optimizer, str):
        return optimizer, {}
    if isinstance(optimizer, dict):
        name, options = optimizer["class_name"], optimizer["config"]
    else:
        name, options = type(optimizer).__name__, optimizer.get_config()
    name = name.rpartition(">")[2]  # a registered name begins with its package: "kerasrec>Adam"
    if name == "LossScaleOptimizer":
        return _class_and_options(options["inner_optimizer"])
    if name == "Multi":
        return _class_and_options(options["optimizers"]["tables"])
    return name, options
