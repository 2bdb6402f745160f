"""A loader is data for plain Keras models: fit, validation, evaluate, predict."""

import gc
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from loader_data import CARDINALITY, make_table, rows_on_disk, threads, write

from kerasrec.data import Loader

ROWS = 1000
FEATURES = ["user", "age", "tags"]  # a functional model wants its inputs and nothing else


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("keras") / "data", make_table(ROWS), files=3)


def functional(lists):
    inputs = {
        "user": keras.Input((), dtype="int32", name="user"),
        "age": keras.Input((), name="age"),
        "tags": keras.Input((4,), dtype="int32", name="tags")
        if lists == "padded"
        else keras.Input((None,), dtype="int32", name="tags", ragged=True),
    }
    columns = [keras.layers.Embedding(CARDINALITY, 4)(inputs["user"]), inputs["age"][:, None]]
    if lists == "padded":
        columns.append(keras.layers.Flatten()(keras.layers.Embedding(CARDINALITY, 4)(inputs["tags"])))
    output = keras.layers.Dense(1, activation="sigmoid")(keras.layers.Concatenate()(columns))
    return keras.Model(inputs, output)


class Subclassed(keras.Model):
    """Reads its features by name; tags are ragged or padded."""

    def __init__(self):
        super().__init__()
        self.user = keras.layers.Embedding(CARDINALITY, 4)
        self.tag = self.add_weight(shape=(CARDINALITY, 4), name="tag")
        self.top = keras.layers.Dense(1, activation="sigmoid")

    def call(self, features):
        tags = features["tags"]
        if isinstance(tags, tf.RaggedTensor):
            pooled = tf.reduce_sum(tf.ragged.map_flat_values(tf.gather, self.tag.value, tags), axis=1)
            pooled.set_shape((None, 4))
        else:
            there = keras.ops.cast(tags != 0, "float32")[..., None]
            pooled = keras.ops.sum(keras.ops.take(self.tag, tags, axis=0) * there, axis=1)
        return self.top(keras.ops.concatenate([self.user(features["user"]), features["age"][:, None], pooled], -1))


class Echo(keras.Model):
    """Predicts a row's number, so that predictions tell the order of rows."""

    def call(self, features):
        return keras.ops.cast(features["row"], "float32")[:, None]


@pytest.mark.parametrize("lists", ["padded", "ragged"])
@pytest.mark.parametrize("make", [functional, lambda lists: Subclassed()], ids=["functional", "subclassed"])
def test_fit_evaluate_predict(folder, lists, make):
    keras.utils.set_random_seed(0)
    train = Loader(folder, 64, shuffle=True, lists=lists, columns=FEATURES)
    valid = Loader(folder, 128, lists=lists, columns=FEATURES)
    model = make(lists)
    model.compile("adam", "binary_crossentropy", metrics=[keras.metrics.AUC(name="auc")])
    history = model.fit(train, validation_data=valid, epochs=3, verbose=0).history
    assert len(history["loss"]) == len(history["val_auc"]) == 3
    assert train.epoch == valid.epoch == 3
    assert history["loss"][-1] < history["loss"][0]
    predictions = model.predict(valid, verbose=0)
    assert predictions.shape == (ROWS, 1)
    label = np.array([row[4] for row in rows_on_disk(folder)])
    p = predictions[:, 0].astype("float64")
    loss = -np.mean(np.log(np.where(label == 1, p, 1 - p)))
    logs = model.evaluate(valid, verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx(loss, rel=1e-5)
    assert logs["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-6)


def test_fit_sees_every_row_each_epoch_in_another_order(folder):
    class Seen(Echo):
        def __init__(self):
            super().__init__()
            self.rows = []

        def train_step(self, data):
            self.rows.append(tf.identity(data[0]["row"]).numpy())
            return {"loss": tf.zeros(())}

    model = Seen()
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(Loader(folder, 300, shuffle=True), epochs=3, verbose=0)
    assert [len(rows) for rows in model.rows] == [300, 300, 300, 100] * 3
    epochs = np.concatenate(model.rows).reshape(3, ROWS)
    assert np.array_equal(np.sort(epochs), np.tile(np.arange(ROWS), (3, 1)))
    assert len({tuple(order) for order in epochs}) == 3


def test_predictions_come_in_file_order(folder):
    for loader in (Loader(folder, 64), Loader(folder, 64, targets=[]), Loader(folder, 7, pool_rows=1)):
        assert Echo().predict(loader, verbose=0)[:, 0].tolist() == list(range(ROWS))


def test_steps_per_epoch_and_steps_per_execution(folder):
    model = functional("padded")
    model.compile("sgd", "binary_crossentropy", steps_per_execution=3)
    loader = Loader(folder, 64, shuffle=True, lists="padded", columns=FEATURES)
    model.fit(loader, epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == 2 * len(loader) == 32
    model.compile("sgd", "binary_crossentropy")
    model.fit(loader, epochs=2, steps_per_epoch=5, verbose=0)
    assert int(model.optimizer.iterations) == 10


def test_no_thread_is_left_after_a_training_that_stops_early(folder):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 2

    model = functional("padded")
    model.compile("sgd", "binary_crossentropy")
    loader = Loader(folder, 10, lists="padded", columns=FEATURES, pool_rows=100)
    model.fit(loader, callbacks=[Stop()], verbose=0)
    assert int(model.optimizer.iterations) == 3
    gc.collect()  # Keras's epoch iterator and its generator refer to each other, so they go with a collection
    assert not threads()


def test_importing_the_room_imports_no_keras():
    script = "import sys, kerasrec.data.decode.arrow; assert not {'keras', 'tensorflow'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])


def test_a_process_ends_with_a_pass_still_open(folder):
    """A thread of TensorFlow's waits for our thread, which Python stops when it ends: nothing may wait forever."""
    script = """
import sys
from kerasrec.data import Loader
class Kept: pass
kept = Kept()
kept.itself = kept  # a cycle: nothing is freed before the end
kept.loader = Loader(sys.argv[1], 2, pool_rows=100)
kept.passes = [iter(kept.loader), iter(kept.loader.get_tf_dataset())]
for each in kept.passes: next(each)
"""
    subprocess.run(
        [sys.executable, "-c", script, str(folder)], check=True, timeout=100, cwd=Path(__file__).parents[2]
    )
