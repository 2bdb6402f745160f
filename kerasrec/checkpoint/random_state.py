"""The generators that a process draws random numbers from, beside those of a model's layers."""

from __future__ import annotations

import random
from typing import Any

import keras
import numpy as np

# Keras has no public name for the generator that `keras.random` draws from where no seed is given; asking for it
# would make it, with a seed from Python's generator.
from keras.src.backend.common.global_state import get_global_attribute
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR, global_seed_generator


def random_state() -> dict[str, Any]:
    """The state of the global generators of Python, NumPy, Keras and the backend.

    TensorFlow's older random operations (`tf.random.uniform`) keep theirs out of reach.
    """
    version, words, gauss = random.getstate()
    of_keras = get_global_attribute(GLOBAL_SEED_GENERATOR)
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
        global_seed_generator().state.assign(state["keras"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    np.random.set_state(state["numpy"])
    if "tensorflow" in state and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.random.get_global_generator().state.assign(state["tensorflow"])
    if "torch" in state and keras.backend.backend() == "torch":
        import torch

        torch.set_rng_state(torch.from_numpy(state["torch"].copy()))
