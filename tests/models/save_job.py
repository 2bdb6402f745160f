"""Saves models over earlier ones until it is killed or the disk is full; run in a process of its own."""

import os
import resource
import shutil
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from model_cases import CLICKED, COLUMNS, MODELS, batch_of

import kerasrec as kr
from kerasrec.schema import Schema

FORMS = {
    "model.keras": lambda model, path: kr.save_model(model, path),
    "folder": lambda model, path: kr.save_model(model, path, zipped=False),
    "model.weights.h5": lambda model, path: kr.save_weights(model, path),
    "shards.weights.json": lambda model, path: kr.save_weights(model, path, max_shard_size=3.2e-4),
}


def own():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(20_000)(inputs))
    model.compile("sgd", "mse")
    return model


def ranking():
    schema = Schema([replace(COLUMNS["user"], cardinality=10_000), COLUMNS["age"], CLICKED])
    model = MODELS["DLRM"](schema)
    model.compile(kr.optimizers.SGD(0.1), "binary_crossentropy")
    return model


MAKE = {"own": own, "DLRM": ranking}


def save(kind, form, model, folder):
    """The forms of `FORMS`, and of our models what their own methods and ModelCheckpoint write."""
    path = str(folder / form)
    if kind == "own":
        FORMS[form](model, path)
    elif form == "model.keras":
        x, y = batch_of(32)
        model.fit(x, y, verbose=0, callbacks=[keras.callbacks.ModelCheckpoint(path)])
    elif form == "model.weights.h5":
        x, y = batch_of(32)
        model.fit(x, y, verbose=0, callbacks=[keras.callbacks.ModelCheckpoint(path, save_weights_only=True)])
    elif form == "folder":
        model.save(path, zipped=False)
    else:
        model.save_weights(path, max_shard_size=3.2e-4)


def fill(model, value):
    for weight in model.weights:
        weight.assign(np.full(weight.shape, value, weight.dtype))


def until_killed(folder, seconds):
    models = {kind: make() for kind, make in MAKE.items()}
    for kind in MAKE:
        (folder / kind).mkdir()
    value = 0
    while True:
        value += 1
        for kind, model in models.items():
            for form in FORMS:
                fill(model, value)
                FORMS[form](model, str(folder / kind / form))
        if value == 1:
            print("saved", flush=True)
            threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()


def until_full(folder, limit):
    """Each form once where there is room, and again where there is not."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for kind, make in MAKE.items():
        model = make()
        for form in FORMS:
            place = folder / f"{kind}-{form}"
            place.mkdir()
            fill(model, 1)
            FORMS[form](model, str(place / form))
            if limit:  # no file may grow past so many bytes
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                fill(model, 2)
                save(kind, form, model, place)
                print(f"{kind} {form}: saved", flush=True)
            except Exception as error:
                print(f"{kind} {form}: {type(error).__name__}:", *str(error).split(), flush=True)
            if limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            else:
                shutil.copytree(place, folder.parent / place.name)
                shutil.rmtree(place)
    os._exit(0)  # HDF5 would try once more to write what there was no room for


if __name__ == "__main__":
    how, folder, number = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    if how == "kill":
        until_killed(folder, number)
    else:
        until_full(folder, int(number))
