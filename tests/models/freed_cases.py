"""Makes models, uses them and lets them go; prints what is left of each. Run by `test_models_are_freed.py`."""

import gc
import json
import os
import sys
import weakref
from pathlib import Path

import keras
import numpy as np
import polars as pl

import kerasrec as kr

ROWS = 40_000  # of the table: 5 MiB at width 32, as much again in the optimizer


def write(folder):
    columns = [
        kr.Column("user", "int64", tags=("categorical",), cardinality=ROWS),
        kr.Column("tags", "int64", tags=("categorical", "list"), cardinality=50),
        kr.Column("age", "float32", tags=("continuous",)),
        kr.Column("liked", "int8", tags=("target", "binary")),
    ]
    schema, rng = kr.Schema(columns), np.random.default_rng(0)
    schema.save(folder)
    rows = {"user": rng.integers(0, 50, 64), "tags": [[1, 2]] * 64, "age": rng.normal(size=64)}
    types = {"user": pl.Int64, "tags": pl.List(pl.Int64), "age": pl.Float32, "liked": pl.Int8}
    pl.DataFrame({**rows, "liked": np.arange(64) % 2}, schema=types).write_parquet(folder / "a.parquet")
    return schema


def made(folder, kind="DLRM", optimizer=None, **compiled):
    model = getattr(kr.models, kind)(kr.Schema.load(folder), embedding_dim=32)
    model.compile(optimizer or kr.optimizers.Adagrad(0.01), "binary_crossentropy", metrics=["auc"], **compiled)
    return model, kr.Loader(folder, batch_size=32)


def fitted(folder, **how):
    model, loader = made(folder, **how)
    model.fit(loader, verbose=0)
    return model, loader


def evaluated(folder):
    model, loader = made(folder)
    model.evaluate(loader, verbose=0)
    model.predict(loader, verbose=0)
    return model, loader


def saved(folder):
    model, loader = fitted(folder)
    model.save(folder / "model.keras")
    kr.parallel.save(model, folder / "checkpoint", overwrite=True)
    again = keras.saving.load_model(folder / "model.keras")
    kr.parallel.restore(again, folder / "checkpoint")
    return again, loader


def exported(folder):
    model, loader = made(folder)
    kr.serving.export(model, folder / "served", overwrite=True)
    return model, loader


def looped(folder):
    """A loop of one's own, traced and eagerly."""
    import tensorflow as tf

    model, loader = made(folder)
    optimizer, variables = kr.optimizers.Adam(0.01), model.trainable_variables
    optimizer.build(variables)

    def step(features, target):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(features, training=True) - target) ** 2)
        optimizer.apply(tape.gradient(loss, variables), variables)

    run = tf.function(step)
    for features, target in loader.tensorflow():
        step(features, target)
        run(features, target)
    return model, loader


CASES = {
    "fit": fitted,
    "evaluate and predict": evaluated,
    "save and load": saved,
    "export": exported,
    "loop": looped,
    "eager": lambda folder: fitted(folder, run_eagerly=True),
    "DCN, clipped": lambda folder: fitted(
        folder, kind="DCN", optimizer=kr.optimizers.Adam(0.01, global_clipnorm=1.0)
    ),
    "DeepFM, two optimizers": lambda folder: fitted(
        folder,
        kind="DeepFM",
        optimizer=kr.optimizers.Multi(
            {"tables": kr.optimizers.RowwiseAdagrad(0.01), "dense": kr.optimizers.AdamW(0.01)}
        ),
    ),
    "WideAndDeep": lambda folder: fitted(folder, kind="WideAndDeep", optimizer=kr.optimizers.Ftrl(0.01)),
}


def round_of(case, folder):
    """What is left of one model: whether its table, whether its loader, and MiB of this process."""
    model, loader = case(folder)
    table, loader = weakref.ref(model.embeddings.lookup.variables[0].value), weakref.ref(loader)
    del model
    keras.backend.clear_session()
    gc.collect()
    return table() is not None, loader() is not None, resident()


def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


if __name__ == "__main__":
    folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
    write(folder)
    for name, case in CASES.items():
        print("left:", json.dumps([name, [round_of(case, folder) for _ in range(rounds)]]), flush=True)
