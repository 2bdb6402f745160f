"""What a model holds beside its tables: dense weights, seeds, and the rest of its optimizer's state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasrec.parallel import comm
from kerasrec.parallel.checkpoint.safetensors_io import Array, Found, read_whole
from kerasrec.tables.variables import dense_weights


def dense_variables(model: keras.Model, optimizer: Any) -> dict[str, Any]:
    """Dense weights by place, and the optimizer's variables that are no table's; the same on every rank."""
    found = {f"weights/{place}": weight for place, weight in enumerate(dense_weights(model))}
    if optimizer is None:
        return found
    state = optimizer.dense_state() if hasattr(optimizer, "dense_state") else dict(enumerate(optimizer.variables))
    found |= {f"optimizer/{key}": variable for key, variable in state.items()}
    if model.optimizer is not optimizer:
        found |= {f"scaling/{key}": getattr(model.optimizer, key) for key in ("step_counter", "dynamic_scale")}
    return found


def seeds_of(model: keras.Model) -> list[Any]:
    """The state of a model's random layers (dropout): each rank has its own."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def dense_arrays(model: keras.Model, optimizer: Any, seeds: list[list[np.ndarray]]) -> dict[str, Array]:
    """What goes into a checkpoint's dense file: rank 0's variables, and all ranks' `seeds`."""
    values = {key: _numpy(variable) for key, variable in dense_variables(model, optimizer).items()}
    for rank, some in enumerate(seeds):
        values |= {f"seeds/{rank}/{place}": seed for place, seed in enumerate(some)}
    return {key: Array(value.shape, value.dtype.name, [value]) for key, value in values.items()}


def seed_values(model: keras.Model) -> list[np.ndarray]:
    return [_numpy(seed) for seed in seeds_of(model)]


def check_dense(file: Path, there: Mapping[str, Found], model: keras.Model, optimizer: Any) -> None:
    """Raises `ValueError` where a dense file is of another model or optimizer than this one."""
    here = _all_variables(model, optimizer)
    for key in here:
        if key.startswith(("seeds/", "scaling/")) and key in there and there[key].shape != tuple(here[key].shape):
            raise ValueError(f"{key} is {there[key].shape} in {file}, but {tuple(here[key].shape)} in the model")
    for what in ("weights", "optimizer"):
        mine = {key: tuple(v.shape) for key, v in here.items() if key.startswith(f"{what}/")}
        theirs = {key: found.shape for key, found in there.items() if key.startswith(f"{what}/")}
        if what == "optimizer" and not (mine and theirs):
            continue
        if what == "weights" and len(mine) != len(theirs):
            raise ValueError(f"{file} has {len(theirs)} dense weights, but {model.name!r} has {len(mine)}")
        for key in sorted({*mine, *theirs}):
            if mine.get(key) != theirs.get(key):
                name = getattr(here.get(key), "path", key)
                raise ValueError(
                    f"{key} ({name}) is {theirs.get(key, 'missing')} in {file}, "
                    f"but {mine.get(key, 'missing')} in the model"
                )


def read_dense(file: Path, there: Mapping[str, Found], model: keras.Model, optimizer: Any) -> None:
    """Replace the values; a rank that the checkpoint's job did not have keeps its own seeds."""
    for key, variable in _all_variables(model, optimizer).items():
        if key in there:
            variable.assign(read_whole(file, there[key]))


def _all_variables(model: keras.Model, optimizer: Any) -> dict[str, Any]:
    """`dense_variables`, and this rank's seeds."""
    seeds = {f"seeds/{comm.rank()}/{place}": seed for place, seed in enumerate(seeds_of(model))}
    return dense_variables(model, optimizer) | seeds


def _numpy(variable: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable))
