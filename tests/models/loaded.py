"""`python loaded.py ORDER FOLDER`: loads every file of FOLDER, each in a process that has loaded nothing before.

ORDER says what such a process imports first. What a model loaded as NAME.keras predicts is left in NAME.npy, a
dict by target if it has several.
"""

import os
import sys
from pathlib import Path

order, folder = sys.argv[1], Path(sys.argv[2])
if order == "kerasrec first":
    import kerasrec as kr

    assert "keras" not in sys.modules
    import keras

    load = keras.saving.load_model
elif order == "keras first":
    import keras

    import kerasrec as kr

    load = keras.saving.load_model
elif order == "kr.load_model":
    import keras

    import kerasrec as kr

    load = kr.load_model
else:  # a part of the package brings Keras in
    import kerasrec.optimizers.sgd  # noqa: F401
    import keras  # isort: skip

    load = keras.saving.load_model

import numpy as np  # noqa: E402

imported = [name for name in sys.modules if name.startswith(("kerasrec.models", "kerasrec.layers"))]
assert order == "kr.load_model" or not imported, imported

for path in sorted(folder.glob("*.keras")):
    if (child := os.fork()) == 0:
        x = dict(np.load(folder / "x.npz"))
        model = load(path)
        x = {name: x[name] for name in model.input} if path.stem == "functional" else x
        y = model(x)
        np.save(path.with_suffix(".npy"), {k: np.asarray(v) for k, v in y.items()} if isinstance(y, dict) else y)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{path.name} could not be loaded")
