"""Run by `test_interrupt.py` with data and things to do, each until Ctrl-C; the last is not caught."""

import gc
import sys
import threading
import time
from contextlib import suppress

import keras

from kerasrec.data import Loader

data, *todo = sys.argv[1:]
arguments = {"batch_size": 50, "shuffle": True, "columns": ["age"], "pool_rows": 300}


def left():
    """Threads of ours; TensorFlow lets go of a pass in its own time, so they are given a while to end."""
    gc.collect()
    until = time.monotonic() + 60
    while True:
        found = [thread for thread in threading.enumerate() if thread.name.startswith("kerasrec")]
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.01)


def loop():
    loader = Loader(data, **arguments)
    while True:
        for batch, _ in enumerate(loader):
            if batch == 3:
                print("busy", flush=True)


def wait_for_a_server():
    loader = Loader(data, **arguments)
    print("made", flush=True)
    input()
    print("busy", flush=True)
    for _ in loader:
        print("got what never comes", flush=True)


class Busy(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 3:
            print("busy", flush=True)


def fit():
    inputs = keras.Input((), name="age")
    model = keras.Model({"age": inputs}, keras.layers.Dense(1)(inputs[:, None]))
    model.compile("sgd", "mse")
    model.fit(Loader(data, **arguments), epochs=10**9, verbose=0, callbacks=[Busy()])


for name in todo[:-1]:
    with suppress(KeyboardInterrupt):
        globals()[name]()
    print("interrupted", flush=True)
    if name != "wait_for_a_server":
        print("left", left(), flush=True)
globals()[todo[-1]]()
