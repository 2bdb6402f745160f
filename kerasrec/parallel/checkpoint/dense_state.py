"""What a checkpoint holds besides tables: dense weights, seeds, and the rest of the optimizer's state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from kerasrec.parallel import comm
from kerasrec.parallel.checkpoint.local_tables import TableStateOptimizer
from kerasrec.parallel.checkpoint.safetensors_io import Array, StoredArray, read_array
from kerasrec.tables.variables import dense_weights
from kerasrec.typing import Optimizer, Variable


def dense_variables(model: keras.Model, optimizer: Optimizer | None) -> dict[str, Variable]:
    """Return dense weights by place, and the optimizer's variables that belong to no table; equal on all ranks."""
    variables = {f"weights/{place}": weight for place, weight in enumerate(dense_weights(model))}
    if optimizer is None:
        return variables
    if isinstance(optimizer, TableStateOptimizer):
        state = optimizer.dense_state()
    else:
        state = {str(place): variable for place, variable in enumerate(optimizer.variables)}
    variables |= {f"optimizer/{key}": variable for key, variable in state.items()}
    scaling = model.optimizer
    if scaling is not optimizer:  # a LossScaleOptimizer around it
        variables |= {"scaling/step_counter": scaling.step_counter, "scaling/dynamic_scale": scaling.dynamic_scale}
    return variables


def seeds_of(model: keras.Model) -> list[Variable]:
    """Return the state of a model's random layers (dropout), of which each rank has its own."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def dense_arrays(
    model: keras.Model, optimizer: Optimizer | None, seeds: list[list[np.ndarray]]
) -> dict[str, Array]:
    """Return what goes into a checkpoint's dense file: rank 0's variables, and the `seeds` of every rank."""
    values = {key: _numpy(variable) for key, variable in dense_variables(model, optimizer).items()}
    for rank, of_rank in enumerate(seeds):
        values |= {f"seeds/{rank}/{place}": seed for place, seed in enumerate(of_rank)}
    return {key: Array(value.shape, value.dtype.name, [value]) for key, value in values.items()}


def seed_values(model: keras.Model) -> list[np.ndarray]:
    """Return copies of this rank's seeds."""
    return [_numpy(seed) for seed in seeds_of(model)]


def check_dense(
    file: Path, stored: Mapping[str, StoredArray], model: keras.Model, optimizer: Optimizer | None
) -> None:
    """Raise `ValueError` if a dense file is of another model or optimizer than this one."""
    variables = _all_variables(model, optimizer)
    for key, variable in variables.items():
        shape = tuple(variable.shape)
        if key.startswith(("seeds/", "scaling/")) and key in stored and stored[key].shape != shape:
            raise ValueError(f"{key} is {stored[key].shape} in {file}, but {shape} in the model")
    for kind in ("weights", "optimizer"):
        in_model = {key: tuple(v.shape) for key, v in variables.items() if key.startswith(f"{kind}/")}
        in_file = {key: array.shape for key, array in stored.items() if key.startswith(f"{kind}/")}
        if kind == "optimizer" and not (in_model and in_file):
            continue
        if kind == "weights" and len(in_model) != len(in_file):
            raise ValueError(
                f"{file} has {len(in_file)} dense weights, but {model.name!r} has {len(in_model)}; restore into a "
                "model with the same layers, or the tables alone with kr.restore_tables"
            )
        for key in sorted({*in_model, *in_file}):
            if in_model.get(key) != in_file.get(key):
                name = variables[key].path if key in variables else key
                raise ValueError(
                    f"{key} ({name}) is {in_file.get(key, 'missing')} in {file}, "
                    f"but {in_model.get(key, 'missing')} in the model"
                )


def read_dense(
    file: Path, stored: Mapping[str, StoredArray], model: keras.Model, optimizer: Optimizer | None
) -> None:
    """Replace the values; a rank that the saving job did not have keeps its own seeds."""
    for key, variable in _all_variables(model, optimizer).items():
        if key in stored:
            variable.assign(read_array(file, stored[key]))


def _all_variables(model: keras.Model, optimizer: Optimizer | None) -> dict[str, Variable]:
    """Return `dense_variables`, and this rank's seeds."""
    seeds = {f"seeds/{comm.rank()}/{place}": seed for place, seed in enumerate(seeds_of(model))}
    return dense_variables(model, optimizer) | seeds


def _numpy(variable: Variable) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable))
