"""A training with everything in it that has a state; killed at random moments if told so. Run on one rank or more.

Prints one line per thing that a test looks for, and writes what the training comes to.
"""

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np

import kerasrec as kr
from kerasrec.parallel import comm

EPOCHS, BATCH = 3, 20


class Noise(keras.layers.Layer):
    """Draws from Keras's global generator, which no layer keeps."""

    def call(self, x, training=None):
        return x + 0.1 * keras.random.normal(keras.ops.shape(x)) if training else x


class Draws(keras.callbacks.Callback):
    """Remembers draws of Python's and NumPy's generators, in a state of its own."""

    def __init__(self):
        super().__init__()
        self.drawn = []

    def on_train_batch_end(self, batch, logs=None):
        self.drawn.append(random.random() + np.random.normal() + logs["loss"])

    def state(self):
        return {"drawn": np.array(self.drawn)}

    def restore(self, state):
        self.drawn = state["drawn"].tolist()


class Killed(keras.callbacks.Callback):
    """Makes steps last a moment, and has this process killed in one, or while it saves."""

    def __init__(self, folder, times, seed):
        super().__init__()
        self.folder, self.times, self.seed = Path(folder), times, seed
        self.started, self.timer = False, None

    def on_train_begin(self, logs=None):
        self.done = comm.gather_objects(len(list(self.folder.glob("kill-*"))))[0]  # the same on all ranks

    def on_train_batch_begin(self, batch, logs=None):
        time.sleep(0.01)

    def on_train_batch_end(self, batch, logs=None):
        if self.started:
            return
        self.started = True
        who = random.Random(f"{self.seed} {self.done}")
        if self.done < self.times and comm.rank() == who.randrange(comm.size()):
            (self.folder / f"kill-{self.done}").touch()
            self.timer = threading.Timer(who.uniform(0, 1.5), os.kill, (os.getpid(), signal.SIGKILL))
            self.timer.start()

    def on_train_end(self, logs=None):
        if self.timer is not None:
            self.timer.cancel()


def ours(train, options):
    model = kr.models.DCN(train.schema, 4, deep_units=[8], dropout=0.3)
    optimizer = kr.optimizers.Adam(0.01)
    if not options.get("plateau"):  # which sets one learning rate
        optimizer = kr.optimizers.Multi({"tables": kr.optimizers.Adagrad(0.1), "dense": optimizer})
    model.compile(
        optimizer,
        "binary_crossentropy",
        metrics=[keras.metrics.AUC(name="auc"), "accuracy"],
    )
    return model


def own(train, options):
    """A user's model with Keras's optimizer: moving averages, dropout, a generator that nobody owns."""
    user, age = keras.Input((), dtype="int32", name="user"), keras.Input((), name="age")
    x = keras.layers.Concatenate()([keras.layers.Embedding(50, 4)(user), keras.ops.expand_dims(age, 1)])
    x = keras.layers.BatchNormalization()(Noise()(keras.layers.Dense(8, "relu")(x)))
    model = keras.Model({"user": user, "age": age}, keras.layers.Dense(1, "sigmoid")(keras.layers.Dropout(0.3)(x)))
    model.compile("adam", "binary_crossentropy", metrics=[keras.metrics.AUC(name="auc")])
    return model


def main(data, out, checkpoints, options):
    keras.utils.set_random_seed(7)
    columns = {"columns": ["user", "age"] if options.get("own") else ["user", "age", "tags"]}
    train = kr.Loader(f"{data}/train", BATCH, shuffle=True, pool_rows=130, **columns)
    valid = kr.Loader(f"{data}/valid", 50, shuffle=True, **columns)
    model = (own if options.get("own") else ours)(train, options)
    stop = keras.callbacks.EarlyStopping(
        "val_loss", patience=options.get("patience", 1), restore_best_weights=True
    )
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=0, min_delta=1)
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9)
    draws = Draws()
    others = [stop, draws, schedule] if options.get("own") else [stop, draws]
    others += [] if options.get("own") else [plateau] if options.get("plateau") else []
    if options.get("kills"):
        others.append(Killed(options["folder"], options["kills"], options["seed"]))
    callbacks = list(others)
    if checkpoints:
        told = {"loader": train, "validation": valid, "callbacks": others} if options.get("own") else {}
        callbacks.append(kr.callbacks.Checkpoint(checkpoints, every=options.get("every", 7), **told))
    history = model.fit(
        train, validation_data=valid, epochs=options.get("epochs", EPOCHS), callbacks=callbacks, verbose=0
    )
    optimizer = model.optimizer
    parts = (
        [optimizer["tables"], optimizer["dense"]] if isinstance(optimizer, kr.optimizers.Multi) else [optimizer]
    )
    state = [variable for part in parts for variable in part.variables]
    found = {f"weight/{place}": value for place, value in enumerate(model.get_weights())}
    found |= {f"optimizer/{place}": value.numpy() for place, value in enumerate(state)}
    found |= {f"history/{name}": np.array(values) for name, values in history.history.items()}
    found["epochs"], found["drawn"] = np.array(history.epoch), np.array(draws.drawn)
    found["stop"] = np.array([stop.wait, stop.best, stop.best_epoch, stop.stopped_epoch])
    np.savez(f"{out}-{comm.rank()}.npz", **found)
    print(f"finished {comm.rank()}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] if sys.argv[3] != "-" else None, json.loads(sys.argv[4]))
