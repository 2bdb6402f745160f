"""Runs a workflow's TensorFlow implementation in the three ways that it is used: eagerly, as a traced graph, and
out of a SavedModel in a process that knows nothing of kerasrec."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray[Any, Any]]

LOADER = """
import pickle, sys, numpy as np, tensorflow as tf
with open(sys.argv[2], "rb") as file:
    cases = pickle.load(file)
model, wrong = tf.saved_model.load(sys.argv[1]), []
for graph, (name, raw, expected) in zip(model.graphs, cases, strict=True):
    try:
        made = graph({key: tf.constant(array) for key, array in raw.items()})
        assert set(made) == set(expected), set(made) ^ set(expected)
        for key, array in expected.items():
            np.testing.assert_array_equal(made[key].numpy(), array, err_msg=key, strict=True)
    except Exception as error:
        wrong.append(f"{name}: {type(error).__name__}: {error}")
assert not [name for name in sys.modules if name.startswith(("kerasrec", "polars"))]
sys.exit("\\n\\n".join(wrong) or None)
"""


class SavedModels:
    """Graphs that wait to be saved, loaded and run again: of each test, or each first parameter of one, the one of
    the most elements. (To save and load a lookup table takes 0.1 s.)"""

    def __init__(self) -> None:
        self.waiting: dict[str, tuple[Any, Any, Arrays, Arrays]] = {}

    def add(self, module: Any, graph: Any, raw: Arrays, expected: Arrays) -> None:
        test = os.environ.get("PYTEST_CURRENT_TEST", "").partition("-")[0]
        known = self.waiting.get(test)
        if known is None or _elements(raw) > _elements(known[2]):
            self.waiting[test] = module, graph, raw, expected

    def check(self, folder: Path) -> None:
        """Save all of them as one SavedModel, and run that in another process."""
        import tensorflow as tf

        root = tf.Module()
        root.modules = [module for module, *_ in self.waiting.values()]
        root.graphs = [graph for _, graph, *_ in self.waiting.values()]
        tf.saved_model.save(root, str(folder / "model"))
        cases = [(test, raw, expected) for test, (_, _, raw, expected) in self.waiting.items()]
        (folder / "cases.pickle").write_bytes(pickle.dumps(cases))
        self.waiting.clear()
        code = [sys.executable, "-c", LOADER, str(folder / "model"), str(folder / "cases.pickle")]
        env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(code, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"a SavedModel in another process:\n{done.stderr[-20_000:]}"


SAVED_MODELS = SavedModels()  # what `conftest.py` checks once all tests have run


def run(module: Any, raw: Mapping[str, Any]) -> Arrays:
    """What `module` makes of raw tensors eagerly, where a graph of it makes the same, of the first row and of no
    rows as well; that a SavedModel does so is checked when all tests have run."""
    import tensorflow as tf

    made = _arrays(module(raw))
    graph = tf.function(
        lambda wire: module(wire),
        input_signature=[{name: tf.TensorSpec([None], tensor.dtype, name) for name, tensor in raw.items()}],
        autograph=False,
    )
    given = _arrays(raw)
    for rows in (None, 1, 0):
        got = _arrays(graph({name: tf.constant(array) for name, array in head(given, rows).items()}))
        assert set(got) == set(made)
        for name, array in head(made, rows).items():
            if rows and array.dtype.kind == "f":  # a logarithm's last bit may depend on how many are computed
                ulps = 4 * np.finfo(array.dtype).eps
                np.testing.assert_allclose(got[name], array, rtol=ulps, err_msg=name, strict=True)
            else:
                np.testing.assert_array_equal(got[name], array, err_msg=f"{name}, {rows} rows", strict=True)
    SAVED_MODELS.add(module, graph, given, made)
    return made


def head(arrays: Arrays, rows: int | None) -> Arrays:
    """The first rows, or all, of columns as they are on the wire."""
    if rows is None:
        return arrays
    cut = {}
    for name, array in arrays.items():
        column, _, part = name.rpartition("__")
        offsets = arrays.get(f"{column}__offsets") if part in ("values", "offsets", "valid") else None
        if offsets is None:
            cut[name] = array[:rows]
        else:
            cut[name] = array[: rows + 1] if part == "offsets" else array[: offsets[: rows + 1][-1]]
    return cut


def _arrays(tensors: Mapping[str, Any]) -> Arrays:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _elements(arrays: Arrays) -> int:
    return sum(array.size for array in arrays.values())
