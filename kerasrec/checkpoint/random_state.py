"""The random generators of a process, apart from those of a model's layers."""

from __future__ import annotations

import random
from typing import Any

import keras
import numpy as np

from kerasrec._keras import default_generator, make_default_generator


def random_state() -> dict[str, Any]:
    """Return the states of the global generators of Python, NumPy, Keras and the backend.

    That of TensorFlow's older random operations (`tf.random.uniform`) cannot be read.
    """
    version, words, gauss = random.getstate()
    of_keras = default_generator()
    state: dict[str, Any] = {
        "python": [version, np.array(words, np.uint32), gauss],
        "numpy": np.random.get_state(legacy=False),
        "keras": None if of_keras is None else of_keras.state.value,
    }
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        state["tensorflow"] = tf.random.get_global_generator().state
    if keras.backend.backend() == "torch":
        import torch

        state["torch"] = torch.get_rng_state().numpy()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Set the generators to what `random_state` returned; those that a state lacks are left alone."""
    if not state:
        return
    if state["keras"] is not None:
        make_default_generator().state.assign(state["keras"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    np.random.set_state(state["numpy"])
    if "tensorflow" in state and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.random.get_global_generator().state.assign(state["tensorflow"])
    if "torch" in state and keras.backend.backend() == "torch":
        import torch

        torch.set_rng_state(torch.from_numpy(state["torch"].copy()))
