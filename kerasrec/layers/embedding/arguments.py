"""Checks and defaults of `DistributedEmbedding`'s arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasrec._keras import random_seed
from kerasrec.parallel import comm
from kerasrec.parallel.planner.planner import plan as make_plan
from kerasrec.tables.config import FeatureConfig, TableConfig
from kerasrec.tables.plan import Plan, plan_from_placements


def feature_config(name: str, config: FeatureConfig | Mapping[str, Any]) -> FeatureConfig:
    """Return a feature's config, given itself or what `get_config` made of it."""
    if isinstance(config, Mapping):
        table = dict(config["table"])
        if "head" in table:  # files of kerasrec 0.1
            table["lookup_cdf"] = table.pop("head")
        return FeatureConfig(config["name"], TableConfig(**table), config.get("hotness", 1.0))
    if not isinstance(config, FeatureConfig):
        raise ValueError(f"feature {name!r} must be a kr.FeatureConfig; got {config!r}")
    return config


def planned(plan: Plan | None, features: Sequence[FeatureConfig], **how: Any) -> Plan:
    """Return the plan that is given, or else the planner's; on one rank there is nothing to choose."""
    ranks = comm.size()
    if plan is None:
        return (
            plan_from_placements(features, 1, "table_wise")
            if ranks == 1
            else make_plan(features, ranks, None, **how)
        )
    if plan.ranks != ranks:
        raise ValueError(f"the plan is for {plan.ranks} ranks, but there are {ranks}")
    for config in features:
        if plan[config.table.name].table != config.table:
            raise ValueError(
                f"the plan has another table {config.table.name!r}: expected {config.table}; "
                f"got {plan[config.table.name].table}"
            )
    return plan


def refuse_strategy(layer: str) -> None:
    """Raise `ValueError` under a strategy of `tf.distribute`."""
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    if tf.distribute.has_strategy():
        strategy = type(tf.distribute.get_strategy()).__name__
        raise ValueError(
            f"{layer}: embedding tables cannot be made under tf.distribute.{strategy}. "
            "To train on several devices, leave the strategy out and start one process for each: "
            "horovodrun -np N python train.py"
        )


def checked_seed(layer: str, seed: int) -> int:
    """Return a seed as an integer; raise `ValueError` if it is not one, or below 0."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"{layer}: seed must be an integer >= 0; got {seed!r}")
    return int(seed)


def default_seed() -> int:
    """Return the seed of `keras.utils.set_random_seed`, on every rank that of rank 0, or 0 where none was set."""
    seed = abs(random_seed() or 0)
    return seed if comm.size() == 1 else comm.gather_objects(seed)[0]
