"""Scoring with a SavedModel in a process of its own, in which Keras and kerasrec cannot be imported."""

import json
import subprocess
import sys

import numpy as np

SCRIPT = """
import json, sys
sys.modules.update(keras=None, kerasrec=None)  # an import of either would raise
import numpy as np
import tensorflow as tf
folder, signature, wire = sys.argv[1:]
served = tf.saved_model.load(folder).signatures[signature]
wires = np.load(wire, allow_pickle=True)["wires"]
answers = [{name: t.numpy().tolist() for name, t in served(**inputs).items()} for inputs in wires]
modules = [m for m, it in sys.modules.items() if it and m.split(".")[0] in ("keras", "kerasrec")]
print(json.dumps({"answers": answers, "modules": modules}))
"""


def answers_of(folder, wires, tmp_path, signature="serving_default"):
    """What a fresh process answers to each of `wires`: output name -> float32 array."""
    held = np.empty(len(wires), object)
    held[:] = wires
    np.savez(tmp_path / "wires.npz", wires=held)
    command = [sys.executable, "-c", SCRIPT, str(folder), signature, str(tmp_path / "wires.npz")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["modules"] == []
    return [
        {name: np.array(values, np.float32).reshape(-1, 1) for name, values in answer.items()}
        for answer in told["answers"]
    ]
