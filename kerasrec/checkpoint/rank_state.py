"""The state of a training that each rank has of its own: metrics, generators, callbacks, moving averages."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasrec.checkpoint.callback_state import callback_states
from kerasrec.checkpoint.packing import pack, unpack
from kerasrec.checkpoint.random_state import random_state
from kerasrec.parallel import comm
from kerasrec.parallel.checkpoint import safetensors_io
from kerasrec.parallel.checkpoint.safetensors_io import Array
from kerasrec.tables.variables import untrained_weights


@dataclass(frozen=True)
class RankState:
    """A rank's own state, in memory.

    Attributes:
        metrics: the values of the model's metrics' variables.
        untrained: on several ranks the weights that follow each rank's own rows, of which the model's files have
            only rank 0's.
        random: what `random_state` returned.
        callbacks: what `callback_states` returned.
    """

    metrics: list[np.ndarray]
    untrained: list[np.ndarray]
    random: dict[str, Any]
    callbacks: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, model: keras.Model, callbacks: Iterable[Any]) -> RankState:
        untrained = untrained_weights(model) if comm.size() > 1 else []
        return cls(
            _values(model.metrics_variables), _values(untrained), random_state(), callback_states(callbacks)
        )

    def on_other_ranks(self, path: Path) -> RankState:
        """Return the part that fits any number of ranks: the callbacks' state, not what depends on a rank's rows.

        Raises:
            ValueError: a callback keeps the weights that a rank had.
        """
        for name, state in self.callbacks.items():
            if state.get("best_weights") is not None:
                raise ValueError(
                    f"{path} has the best weights of {name.partition('/')[0]} of another number of ranks: "
                    "start as many ranks as saved it, or leave out restore_best_weights"
                )
        return RankState([], [], {}, self.callbacks)

    def set_weights(self, model: keras.Model) -> None:
        if self.untrained:
            _assign(untrained_weights(model), self.untrained)

    def set_metrics(self, model: keras.Model) -> None:
        _assign(model.metrics_variables, self.metrics)

    def write(self, file: Path, save: str) -> dict[str, int]:
        """Write the state, marked as of the checkpoint `save`; returns the file's bytes and CRC-32."""
        arrays: list[np.ndarray] = []
        packed = {name: pack(value, arrays) for name, value in vars(self).items()}
        by_name = {str(place): array for place, array in enumerate(arrays)}
        by_name["state"] = np.frombuffer(json.dumps(packed).encode(), np.uint8)
        written = {name: Array(array.shape, array.dtype.name, [array]) for name, array in by_name.items()}
        return safetensors_io.write(file, written, save)


def read(file: Path, save: str, size: int, crc32: int) -> RankState:
    """Read what `RankState.write` wrote. Raises as `safetensors_io.check`."""
    safetensors_io.check(file, save, size, crc32)
    stored = safetensors_io.open_file(file, save, size)
    by_name = {name: safetensors_io.read_array(file, where) for name, where in stored.items()}
    packed = json.loads(by_name.pop("state").tobytes())
    arrays = [by_name[str(place)] for place in range(len(by_name))]
    return RankState(**{name: unpack(value, arrays) for name, value in packed.items()})


def _values(variables: Iterable[Any]) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def _assign(variables: list[Any], values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
